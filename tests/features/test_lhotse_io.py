import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, Recording
from lhotse.features import FeatureExtractor

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank
from sdpn.features.index import FeatureIndex, open_features
from sdpn.features.lhotse_io import ArkFeatures, FbankExtractor, FbankExtractorConfig, Hdf5Features
from sdpn.features.sets import make_set, read_cuts
from sdpn.files import write_jsonl_gz
from sdpn.shards import Work
from tests.features.conftest import Tone, flip_a_byte, load_tone, run_here


@pytest.fixture
def directory(tmp_path):
    cuts = []
    for name in ("b", "a"):
        soundfile.write(tmp_path / f"{name}.flac", load_tone(Tone(name, 12345)), 16000)
        cut = Recording.from_file(tmp_path / f"{name}.flac").to_cut()
        cut.id = name
        cuts.append(cut)
    write_jsonl_gz(tmp_path / "set" / "cuts.jsonl.gz", (cut.to_dict() for cut in cuts))
    return tmp_path / "set"


@pytest.mark.parametrize("feats_type", ["ark", "hdf5"])
def test_cuts_load_their_features_through_lhotse(directory, feats_type):
    make_set(directory, FbankConfig(feats_type=feats_type), run_here)
    index = FeatureIndex.open(directory)
    cuts = {cut.id: cut for cut in CutSet.from_file(directory / "cuts_feats.jsonl.gz")}
    assert set(cuts) == {"a", "b"}
    for name, cut in cuts.items():
        np.testing.assert_array_equal(cut.load_features(), index.read(index.ids.index(name)))
    part = cuts["a"].truncate(offset=0.2, duration=0.3)
    np.testing.assert_array_equal(part.load_features(), index.read(0, 20, 50))


def test_cuts_without_their_pauses_stand_for_the_speech_alone(directory, tmp_path):
    speech = load_tone(Tone("a", 16000))
    soundfile.write(tmp_path / "a.flac", np.concatenate([speech, np.zeros(16000), speech]), 16000)
    cut = Recording.from_file(tmp_path / "a.flac").to_cut()
    write_jsonl_gz(directory / "cuts.jsonl.gz", [cut.to_dict()])
    make_set(directory, FbankConfig(vad="energy"), run_here)
    (cut,) = CutSet.from_file(directory / "cuts_feats.jsonl.gz")
    assert 190 <= cut.num_frames <= 210 and not cut.has_recording
    np.testing.assert_array_equal(cut.load_features(), FeatureIndex.open(directory).read(0))


@pytest.mark.parametrize("storage_type", [ArkFeatures, Hdf5Features])
@pytest.mark.parametrize("num_jobs", [1, 2])
def test_lhotse_computes_and_stores_with_our_fbank_and_files(directory, tmp_path, storage_type, num_jobs):
    cuts = CutSet.from_file(directory / "cuts.jsonl.gz").to_eager()
    extractor = FbankExtractor(FbankExtractorConfig({"num_mel_bins": 40}))
    stored = cuts.compute_and_store_features(
        extractor, tmp_path / "feats", num_jobs=num_jobs, storage_type=storage_type
    )
    stored.to_file(tmp_path / "stored.jsonl.gz")
    for cut in CutSet.from_file(tmp_path / "stored.jsonl.gz"):
        expected = Fbank(FbankConfig(num_mel_bins=40))(cut.load_audio()[0])
        np.testing.assert_allclose(cut.load_features(), expected, atol=1e-3)
        np.testing.assert_allclose(cut.truncate(offset=0.2, duration=0.3).load_features(), expected[20:50], atol=1e-3)


def test_an_extractor_goes_to_yaml_and_back(tmp_path):
    FbankExtractor(FbankExtractorConfig({"snip_edges": True})).to_yaml(tmp_path / "extractor.yml")
    samples = load_tone(Tone("a", 8000))
    back = FeatureExtractor.from_yaml(tmp_path / "extractor.yml")
    np.testing.assert_array_equal(back.extract(samples, 16000), Fbank(FbankConfig(snip_edges=True))(samples))


def test_the_extractor_takes_one_channel_of_floating_point_as_an_array_or_a_tensor():
    samples = load_tone(Tone("a", 8000))
    expected = Fbank(FbankConfig())(samples)
    extract = FbankExtractor().extract
    for one in (samples, samples[None], samples.astype(np.float64), np.stack([samples] * 2)[1], samples[::-1][::-1]):
        np.testing.assert_array_equal(extract(one, 16000), expected)
    tensor = torch.from_numpy(samples)
    for one in (tensor, tensor[None], tensor.double(), tensor.clone().requires_grad_()):
        found = extract(one, 16000)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_array_equal(found, expected)
    half = tensor.bfloat16()
    np.testing.assert_array_equal(extract(half, 16000), extract(half.float(), 16000))


@pytest.mark.parametrize("wrap", [lambda samples: samples, torch.from_numpy])
@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.zeros((2, 48000), np.float32), r"\(2, 48000\).*choose a channel"),
        (np.zeros((48000, 1), np.float32), r"\(48000, 1\)"),
        (np.zeros((1, 1, 48000), np.float32), r"\(1, 1, 48000\)"),
        (np.zeros((0, 48000), np.float32), r"\(0, 48000\)"),
        (np.float32(1) * np.zeros(()), r"\(\)"),
        (np.zeros(48000, np.int16), "int16.*32768"),
        (np.zeros(48000, bool), "bool"),
        (np.zeros(48000, np.complex64), "complex64"),
        (np.full(48000, np.nan, np.float32), "NaN or infinite"),
        (np.full(48000, 1e200), "NaN or infinite"),
        (np.zeros(100, np.float32), "shorter than one frame: 100 samples"),
        (np.zeros(0, np.float32), "shorter than one frame: 0 samples"),
    ],
)
def test_the_extractor_refuses_other_shapes_and_types(samples, sentence, wrap):
    with pytest.raises(SdpnError, match=sentence):
        FbankExtractor().extract(wrap(np.asarray(samples)), 16000)


def test_the_extractor_refuses_another_sampling_rate_and_several_channels_of_a_cut(tmp_path):
    with pytest.raises(SdpnError, match="8000 Hz where the fbank is for 16000 Hz"):
        FbankExtractor().extract(np.zeros(8000, np.float32), 8000)
    soundfile.write(tmp_path / "two.wav", np.zeros((48000, 2)), 16000)
    with pytest.raises(SdpnError, match=r"\(2, 48000\)"):
        Recording.from_file(tmp_path / "two.wav").to_cut().compute_features(FbankExtractor())


def test_a_batch_has_the_features_that_each_recording_has_alone():
    waves = [load_tone(Tone(f"utt{number}", 8000 + 1613 * number)) for number in range(3)]
    alone = [Fbank(FbankConfig())(wave) for wave in waves]
    padded = np.zeros((3, len(waves[-1])), np.float32)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = wave
    batch = FbankExtractor().extract_batch
    lengths = torch.tensor([len(wave) for wave in waves])
    for found in (
        batch(waves, 16000),
        batch([wave[None] for wave in waves], 16000),
        batch(torch.from_numpy(padded), 16000, lengths),
        batch(torch.from_numpy(padded)[:, None], 16000, lengths.numpy()),
    ):
        for one, expected in zip(found, alone, strict=True):
            np.testing.assert_array_equal(one, expected)
    (one,) = batch(torch.from_numpy(padded[:1]), 16000, lengths[:1])  # Lhotse walks over what it gets
    np.testing.assert_array_equal(one, alone[0])
    np.testing.assert_array_equal(batch(waves[0], 16000), alone[0])
    assert batch(padded, 16000).shape == (3, *alone[2].shape)
    assert isinstance(batch(torch.from_numpy(padded), 16000), torch.Tensor)


def test_damage_is_seen_through_lhotse_too(directory):
    make_set(directory, FbankConfig(), run_here)
    (cut, _) = CutSet.from_file(directory / "cuts_feats.jsonl.gz")
    flip_a_byte(directory / "feats.0001.ark", at=-100)
    flip_a_byte(directory / "feats.0001.ark", at=100)
    with pytest.raises(SdpnError, match="is damaged"):
        cut.load_features()


def test_cuts_that_changed_since_their_features_were_made_are_refused(directory):
    make_set(directory, FbankConfig(), run_here)
    assert len(open_features(directory)) == 2
    cuts = list(CutSet.from_file(directory / "cuts.jsonl.gz"))
    write_jsonl_gz(directory / "cuts.jsonl.gz", (cut.to_dict() for cut in cuts[:1]))
    with pytest.raises(SdpnError, match="run stage 2 again"):
        open_features(directory)


def test_damaged_cuts_are_a_sentence(directory):
    whole = (directory / "cuts.jsonl.gz").read_bytes()
    (directory / "cuts.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SdpnError, match="is damaged: remove it and run stage 1 again"):
        read_cuts(directory)


def test_manifests_that_changed_since_the_cuts_were_made_are_refused(directory):
    write_jsonl_gz(directory / "recordings.jsonl.gz", [])
    Work(directory, "cuts", {"recordings": "another", "supervisions": "none"}).finish([])
    with pytest.raises(SdpnError, match="run stage 1 again"):
        read_cuts(directory)


def test_audio_that_changed_makes_its_shard_stale(directory, tmp_path, capsys):
    make_set(directory, FbankConfig(), run_here)
    soundfile.write(tmp_path / "a.flac", load_tone(Tone("other", 12345)), 16000)
    make_set(directory, FbankConfig(), run_here)
    assert "1 of 1 shard made again: utterances changed" in capsys.readouterr().out


def test_cuts_of_another_rate_than_the_fbanks_are_refused(directory):
    with pytest.raises(SdpnError, match="cut b has 16000 Hz where the fbank is configured for 8000 Hz"):
        make_set(directory, FbankConfig(sampling_rate=8000), run_here)
