"""Lhotse manifests in, made by Lhotse itself."""

import codecs
import gzip
import json
import os
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile
from lhotse import AudioSource, CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.cut import MonoCut, MultiCut
from lhotse.shar import SharWriter
from lhotse.utils import fastcopy

from sdpn.audio.headers import read_header
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.audio import load_samples
from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank
from sdpn.features.index import FeatureIndex
from sdpn.features.sets import make_set
from sdpn.files import write_jsonl_gz
from tests.corpus.conftest import needs_ffmpeg, program, rows, times, write_voice

PEOPLE = {"train": ("ann", "bob", "cyd"), "test": ("eve", "fay")}


@pytest.fixture
def recordings(tmp_path) -> dict[str, RecordingSet]:
    """Two recordings of each person, each with two segments."""
    sets = {}
    for name, people in PEOPLE.items():
        own = []
        for number, speaker in enumerate(people):
            for take in range(2):
                path = write_voice(tmp_path / "audio" / name / f"{speaker}-{take}.flac", number + len(name), take, 3.0)
                own.append(Recording.from_file(path))
        sets[name] = RecordingSet.from_recordings(own)
    return sets


def segments(recordings: RecordingSet) -> SupervisionSet:
    return SupervisionSet.from_segments(
        SupervisionSegment(
            f"{recording.id}-{part}",
            recording.id,
            part * 1.25,
            1.5,
            speaker=recording.id[:3],
            gender="Female",
            text="words",
        )
        for recording in recordings
        for part in range(2)
    )


@pytest.fixture
def prepare(clips, tmp_path):
    run = program("prepare_lhotse")
    return lambda train, test, *words: run("--train", train, "--eval", test, *clips, *words, tmp_path / "data")


@pytest.fixture
def folders(recordings, tmp_path):
    """Recordings and supervisions in a folder for each set, named as icefall does."""
    for name, own in recordings.items():
        (tmp_path / name).mkdir()
        own.to_file(tmp_path / name / f"corpus_recordings_{name}.jsonl.gz")
        segments(own).to_file(tmp_path / name / f"corpus_supervisions_{name}.jsonl.gz")
    return tmp_path / "train", tmp_path / "test"


@pytest.fixture
def cut_manifests(recordings, tmp_path):
    paths = []
    for name, own in recordings.items():
        paths.append(tmp_path / f"cuts_{name}.jsonl.gz")
        CutSet.from_manifests(own, segments(own)).trim_to_supervisions().to_file(paths[-1])
    return paths


def test_recordings_and_supervisions_become_sets(prepare, folders, make_cuts, tmp_path):
    prepare(*folders)
    make_cuts(tmp_path / "data")
    own = {row["id"]: row for row in rows(tmp_path / "data" / "eval" / "supervisions.jsonl.gz")}
    row = own["eve-0-1"]
    assert (row["recording_id"], row["start"], row["duration"]) == ("eve-0", 1.25, 1.5)
    assert (row["speaker"], row["gender"]) == ("eve", "f")
    train = list(CutSet.from_jsonl_lazy(tmp_path / "data" / "train" / "cuts.jsonl.gz"))
    assert len(train) == 12
    assert all(cut.supervisions[0].speaker is None for cut in train)
    assert train[1].load_audio().shape == (1, 24000)


def test_cuts_become_the_same_sets(prepare, cut_manifests, folders, tmp_path):
    prepare(*cut_manifests)
    parts = {
        (row["recording_id"], row["start"], row["speaker"])
        for row in rows(tmp_path / "data/train/supervisions.jsonl.gz")
    }
    assert parts == {(f"{p}-{take}", start, p) for p in PEOPLE["train"] for take in range(2) for start in (0.0, 1.25)}


def test_relative_paths_are_those_of_a_folder_above_the_manifest(prepare, recordings, folders, tmp_path):
    own = list(recordings["train"])
    for recording in own:
        recording.sources[0].source = os.path.relpath(recording.sources[0].source, tmp_path)
    own[0].sources[0].source = "audio/gone.flac"
    RecordingSet.from_recordings(own).to_file(folders[0] / "corpus_recordings_train.jsonl.gz")
    prepare(*folders, "--max-skipped", 0.2)
    found = rows(tmp_path / "data" / "train" / "recordings.jsonl.gz")
    assert [row["sources"][0]["source"] for row in found] == [
        f"{tmp_path}/audio/train/{name}-{take}.flac" for name in PEOPLE["train"] for take in range(2)
    ][1:]


@pytest.fixture
def shars(recordings, tmp_path):
    for name, own in recordings.items():
        cuts = CutSet.from_manifests(
            own,
            SupervisionSet.from_segments(SupervisionSegment(r.id, r.id, 0, r.duration, speaker=r.id[:3]) for r in own),
        ).to_eager()
        (tmp_path / f"shar_{name}").mkdir()
        with SharWriter(tmp_path / f"shar_{name}", fields={"recording": "flac"}, shard_size=3) as writer:
            for cut in cuts:
                writer.write(cut)
    return tmp_path / "shar_train", tmp_path / "shar_test"


def test_a_byte_order_mark_in_a_shar_folder_is_skipped(prepare, shars, recordings, make_cuts, tmp_path):
    for manifest in shars[0].glob("cuts.*.jsonl.gz"):
        manifest.write_bytes(gzip.compress(codecs.BOM_UTF8 + gzip.decompress(manifest.read_bytes())))
    prepare(*shars)
    make_cuts(tmp_path / "data")
    assert len(rows(tmp_path / "data" / "train" / "cuts.jsonl.gz")) == len(recordings["train"])


def test_a_shar_folder_is_copied_out_as_it_is_and_once(prepare, shars, recordings, make_cuts, tmp_path, capsys):
    prepare(*shars)
    assert "audio of" in (said := capsys.readouterr().out)
    assert "6/6 cuts" in said
    make_cuts(tmp_path / "data")
    cuts = list(CutSet.from_jsonl_lazy(tmp_path / "data" / "train" / "cuts.jsonl.gz"))
    assert len(cuts) == 6
    assert cuts[0].recording.sources[0].source.startswith(f"{tmp_path}/data/audio/shar/train/")
    by_id = {cut.id: cut for cut in CutSet.from_shar(in_dir=shars[0])}
    assert all((cut.load_audio() == by_id[cut.id].load_audio()).all() for cut in cuts)
    before = times(tmp_path / "data")
    prepare(*shars)
    assert times(tmp_path / "data") == before


def test_mixed_and_padded_cuts_are_left_out_with_the_reason(prepare, shars, recordings, tmp_path):
    own = CutSet.from_manifests(recordings["train"], segments(recordings["train"])).trim_to_supervisions().to_eager()
    one, two, *_ = own
    mixed = [one.pad(duration=4.0).with_id("padded"), one.mix(two, snr=10).with_id("mixed")]
    CutSet.from_cuts([*own, *mixed]).to_file(tmp_path / "own_cuts.jsonl.gz")
    prepare(tmp_path / "own_cuts.jsonl.gz", shars[1], "--max-skipped", 0.5)
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text().splitlines()
    assert {line.split("\t")[0] for line in listed} == {"mixed", "padded"}
    assert all("mixture" in line for line in listed)


def parts_of(recordings: RecordingSet) -> CutSet:
    """Several cuts of each recording; ids hold slashes, are told apart by one alone, and one is very long."""
    cuts = []
    for recording in recordings:
        names = (f"{recording.id}/0", f"{recording.id}-0", f"{recording.id}-{'long' * 60}")
        for number, name in enumerate(names):
            heard = SupervisionSegment(name, recording.id, 0.0, 1.0, speaker=recording.id[:3])
            cut = recording.to_cut().truncate(offset=float(number), duration=1.0)
            cuts.append(fastcopy(cut, id=name, supervisions=[heard]))
    return CutSet.from_cuts(cuts)


def test_cuts_of_one_recording_in_a_shar_folder_have_the_audio_of_their_own(prepare, recordings, make_cuts, tmp_path):
    cuts = {name: parts_of(own) for name, own in recordings.items()}
    for name, own in cuts.items():
        (tmp_path / f"shar_{name}").mkdir()
        own.to_shar(tmp_path / f"shar_{name}", fields={"recording": "flac"})
    prepare(tmp_path / "shar_train", tmp_path / "shar_test")
    make_cuts(tmp_path / "data")
    for name, own in (("train", cuts["train"]), ("eval", cuts["test"])):
        found = {cut.id: cut for cut in CutSet.from_jsonl_lazy(tmp_path / "data" / name / "cuts.jsonl.gz")}
        assert found.keys() == {cut.id for cut in own}
        assert all((found[cut.id].load_audio() == cut.load_audio()).all() for cut in own)


def test_a_shar_folder_made_anew_with_files_of_the_same_size_is_read_anew(prepare, recordings, make_cuts, tmp_path):
    def write(own: CutSet, name: str) -> None:
        (tmp_path / f"shar_{name}").mkdir(exist_ok=True)
        own.to_shar(tmp_path / f"shar_{name}", fields={"recording": "wav"})

    cuts = {name: parts_of(own) for name, own in recordings.items()}
    for name, own in cuts.items():
        write(own, name)
    prepare(tmp_path / "shar_train", tmp_path / "shar_test")
    before = times(tmp_path / "data" / "audio")
    one, *others = list(cuts["train"])
    write(CutSet.from_cuts([fastcopy(one.perturb_volume(0.5), id=one.id), *others]), "train")
    prepare(tmp_path / "shar_train", tmp_path / "shar_test")
    make_cuts(tmp_path / "data")
    found = CutSet.from_jsonl(tmp_path / "data" / "train" / "cuts.jsonl.gz")[one.id]
    assert abs(found.load_audio() - one.load_audio() / 2).max() < 1e-3
    after = times(tmp_path / "data" / "audio")
    changed = [path for path in before if path.endswith(".wav") and after[path] != before[path]]
    assert changed == [found.recording.sources[0].source]


def test_a_shar_folder_gives_the_trials_that_its_cuts_give(clips, recordings, tmp_path):
    for name, own in recordings.items():
        cuts = parts_of(own)
        for cut in cuts:
            cut.supervisions[0].custom = {"session": cut.recording.id}
        (tmp_path / f"shar_{name}").mkdir()
        cuts.to_shar(tmp_path / f"shar_{name}", fields={"recording": "flac"})
        cuts.to_file(tmp_path / f"{name}.jsonl.gz")
    sets = {"shar": ("shar_train", "shar_test"), "cuts": ("train.jsonl.gz", "test.jsonl.gz")}
    for data, (train, test) in sets.items():
        own = program("prepare_lhotse")
        own("--train", tmp_path / train, "--eval", tmp_path / test, *clips, tmp_path / data)
    trials = [(tmp_path / data / "trials" / "eval.txt").read_text() for data in sets]
    assert trials[0] == trials[1]
    assert "eve-0/0 eve-0-0 target" not in trials[0]
    labels = [
        {row["id"]: (row["speaker"], row["custom"]) for row in rows(tmp_path / data / "eval/supervisions.jsonl.gz")}
        for data in sets
    ]
    assert labels[0] == labels[1]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("recording.000000.tar", "unexpected end of data"),
        ("cuts.000001.jsonl.gz", "Compressed file ended"),
    ],
)
def test_a_damaged_shar_folder_is_a_sentence(prepare, shars, file, reason):
    with open(shars[0] / file, "rb+") as opened:
        opened.truncate((shars[0] / file).stat().st_size // 2)
    with pytest.raises(SdpnError, match=f"shar_train: not a readable Lhotse manifest: {reason}"):
        prepare(*shars)


def test_a_shar_folder_without_one_of_its_archives_is_a_sentence(prepare, shars):
    (shars[0] / "recording.000000.tar").unlink()
    with pytest.raises(SdpnError, match=r"shar_train: not a readable Lhotse manifest: Expected 2 shards"):
        prepare(*shars)


def test_commands_need_leave(prepare, recordings, folders, tmp_path):
    command = [
        Recording(
            r.id,
            [AudioSource("command", [0], f"cat {r.sources[0].source}")],
            r.sampling_rate,
            r.num_samples,
            r.duration,
        )
        for r in recordings["train"]
    ]
    RecordingSet.from_recordings(command).to_file(folders[0] / "corpus_recordings_train.jsonl.gz")
    with pytest.raises(SdpnError, match=r"6 recordings are commands, e.g. `cat .*--allow-pipes"):
        prepare(*folders)
    prepare(*folders, "--allow-pipes")
    assert rows(tmp_path / "data" / "train" / "recordings.jsonl.gz")[0]["sources"][0]["type"] == "command"


def test_what_cannot_be_used_is_skipped_with_its_reason(prepare, recordings, folders, tmp_path):
    own = list(recordings["train"])
    own[0] = own[0].perturb_tempo(1.1, affix_id=False)  # which Lhotse cannot do without torchaudio
    own[1] = Recording(own[1].id, [AudioSource("url", [0], "http://x/y.wav")], 16000, 48000, 3.0)
    own[2] = Recording(own[2].id, own[2].sources, 16000, 32000, 2.0)  # its file is longer
    own[3].sources[0].source = str(tmp_path / "gone.flac")
    RecordingSet.from_recordings(own).to_file(folders[0] / "corpus_recordings_train.jsonl.gz")
    prepare(*folders, "--max-skipped", 0.7)
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text().splitlines()
    reasons = dict(line.split("\t", 1) for line in listed)
    if not find_spec("torchaudio"):
        assert reasons["ann-0-0"].startswith("Lhotse cannot read it\t")
    assert reasons["ann-1-0"].startswith("Lhotse cannot read it\t")
    assert reasons["bob-0-1"] == "the manifest lies\t32000 samples at 16000 Hz where there are 48000 at 16000 Hz"
    assert reasons["bob-1-1"] == "there is no such file"


CHANGES = {
    "resampled": lambda cut, room: cut.resample(22050),
    "resampled to the rate of the features": lambda cut, room: cut.resample(8000).resample(16000),
    "faster": lambda cut, room: cut.perturb_speed(1.1),
    "slower": lambda cut, room: cut.perturb_speed(0.9),
    "louder": lambda cut, room: cut.perturb_volume(1.5),
    "reverberated": lambda cut, room: cut.reverb_rir(room),
    "clipped": lambda cut, room: cut.clip_amplitude(gain_db=6),
    "faster, louder and resampled": lambda cut, room: cut.perturb_speed(1.1).perturb_volume(0.5).resample(8000),
}


@pytest.fixture
def room(tmp_path) -> Recording:
    samples = np.zeros(4000)
    samples[[0, 700, 3000]] = 1, 0.5, 0.3
    soundfile.write(tmp_path / "room.wav", samples, 16000)
    return Recording.from_file(tmp_path / "room.wav")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("relative", [False, True])
def test_what_lhotse_changes_when_it_reads_is_taken_as_it_loads_it(
    prepare, cut_manifests, room, make_cuts, tmp_path, change, relative
):
    """Through stages 0 to 2; Lhotse's own loading is the reference."""
    changed = [CHANGES[change](cut, room) for cut in CutSet.from_file(cut_manifests[0])]
    entries = [cut.to_dict() for cut in changed]
    if relative:
        entries = json.loads(json.dumps(entries).replace(f"{tmp_path}/", ""))
    write_jsonl_gz(cut_manifests[0], entries)
    prepare(*cut_manifests)
    make_cuts(tmp_path / "data")
    data = tmp_path / "data" / "train"
    found = {cut.id: cut for cut in CutSet.from_jsonl_lazy(data / "cuts.jsonl.gz")}
    assert found.keys() == {cut.id for cut in changed}
    make_set(data, FbankConfig(), lambda function, jobs: (function(*job) for job in jobs))
    index = FeatureIndex.open(data)
    assert not (data / "skipped_fbank.txt").exists()
    for cut in changed:
        expected = cut.resample(16000).load_audio()[0] if cut.sampling_rate != 16000 else cut.load_audio()[0]
        ours = load_samples(found[cut.id])
        assert ours.shape == (round(cut.duration * 16000),)
        # Resamplers differ in their filters, and clipping in what it calls the loudest sample
        np.testing.assert_allclose(ours, expected[: len(ours)], atol=0.02 if "resampled" in change else 1e-6)
        assert index.frames[index.number_of(cut.id)] == Fbank(FbankConfig()).num_frames(len(ours))


def test_a_reverberation_whose_room_is_gone_is_skipped(prepare, cut_manifests, room, tmp_path):
    first, *others = CutSet.from_file(cut_manifests[0])
    CutSet.from_cuts([first.reverb_rir(room), *others]).to_file(cut_manifests[0])
    (tmp_path / "room.wav").unlink()
    prepare(*cut_manifests, "--max-skipped", 0.2)
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text()
    assert listed == f"{first.id}_rvb\tthere is no such file\n"


def test_a_change_of_the_room_makes_the_corpus_anew(prepare, cut_manifests, room, tmp_path, capsys):
    cuts = CutSet.from_file(cut_manifests[0]).to_eager()
    cuts.map(lambda cut: cut.reverb_rir(room)).to_file(cut_manifests[0])
    prepare(*cut_manifests)
    soundfile.write(tmp_path / "room.wav", np.ones(10), 16000)
    capsys.readouterr()
    prepare(*cut_manifests)
    assert "manifests" in capsys.readouterr().out


def test_commands_within_changed_recordings_need_leave(prepare, cut_manifests, room):
    room.sources[0] = AudioSource("command", [0], f"cat {room.sources[0].source}")
    cuts = [cut.reverb_rir(room) for cut in CutSet.from_file(cut_manifests[0])]
    CutSet.from_cuts(cuts).to_file(cut_manifests[0])
    with pytest.raises(SdpnError, match=r"recordings are commands, e.g. `cat .*--allow-pipes"):
        prepare(*cut_manifests)


def test_a_lie_about_a_resampled_recording_is_seen(prepare, recordings, folders, tmp_path):
    own = [recording.resample(8000) for recording in recordings["train"]]
    own[0].num_samples, own[0].duration = 16000, 2.0
    own[1].transforms = [{"name": "Resample", "kwargs": {"source_sampling_rate": 44100, "target_sampling_rate": 8000}}]
    RecordingSet.from_recordings(own).to_file(folders[0] / "corpus_recordings_train.jsonl.gz")
    prepare(*folders, "--max-skipped", 0.7)
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in listed] == [
        [f"ann-{take}-{part}", "the manifest lies"] for take in range(2) for part in range(2)
    ]


def test_a_recording_of_several_files_is_read(prepare, recordings, cut_manifests, make_cuts, tmp_path):
    """One file a channel, as in AMI; the cut is of the second."""
    first, second, *_ = recordings["train"]
    sources = [AudioSource("file", [n], one.sources[0].source) for n, one in enumerate((first, second))]
    both = Recording("both", sources, 16000, first.num_samples, first.duration)
    CutSet.from_cuts([MonoCut("both-1", 0.5, 2.0, 1, recording=both)]).to_file(cut_manifests[0])
    prepare(*cut_manifests)
    make_cuts(tmp_path / "data")
    (cut,) = CutSet.from_jsonl_lazy(tmp_path / "data" / "train" / "cuts.jsonl.gz")
    np.testing.assert_array_equal(load_samples(cut), second.load_audio()[0, 8000:40000])


def test_cuts_without_supervisions_are_a_training_set(prepare, recordings, cut_manifests, make_cuts, tmp_path):
    cuts = [cut.drop_supervisions() for cut in CutSet.from_file(cut_manifests[0])]
    CutSet.from_cuts(cuts).to_file(cut_manifests[0])
    prepare(*cut_manifests)
    make_cuts(tmp_path / "data")
    assert not (tmp_path / "data" / "train" / "utt2spk.oracle").exists()
    assert len(list(CutSet.from_jsonl_lazy(tmp_path / "data" / "train" / "cuts.jsonl.gz"))) == len(cuts)


def test_recordings_without_supervisions_are_a_training_set(prepare, folders, tmp_path, capsys):
    (folders[0] / "corpus_supervisions_train.jsonl.gz").unlink()
    prepare(*folders)
    assert "train: no speaker labels, 6 utterances" in capsys.readouterr().out


def test_that_some_cuts_alone_have_speakers_is_said(clips, prepare, cut_manifests, tmp_path):
    cuts = list(CutSet.from_file(cut_manifests[0]))
    CutSet.from_cuts([cut.drop_supervisions() if n < 4 else cut for n, cut in enumerate(cuts)]).to_file(
        cut_manifests[0]
    )
    run = program("prepare_lhotse")
    with pytest.raises(SdpnError, match="4 of 12 utterances have no speaker label"):
        run("--train", cut_manifests[0], *clips, tmp_path / "data")
    with pytest.raises(SdpnError, match="4 of the 12 utterances of the training set have no speaker label"):
        prepare(*cut_manifests, "--dev-speakers", 2)
    with pytest.raises(SdpnError, match=r"eval: 4 of 12 utterances have no speaker label .*--trials"):
        prepare(cut_manifests[1], cut_manifests[0])
    prepare(*cut_manifests)
    assert len(rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")) == 12


@pytest.fixture
def padded(tmp_path) -> list[Recording]:
    """m4a files of 3 s whose recordings count the encoder's padding, as Lhotse does."""
    own = []
    for number, speaker in enumerate(PEOPLE["train"]):
        path = write_voice(tmp_path / "m4a" / f"{speaker}-0.m4a", number, 0, 3.0)
        samples = read_header(path).num_samples + 800
        own.append(Recording(path.stem, [AudioSource("file", [0], str(path))], 16000, samples, samples / 16000))
    return own


@needs_ffmpeg
def test_the_padding_of_an_encoder_in_a_manifest_is_no_lie(prepare, padded, folders, make_cuts, tmp_path):
    def heard(id: str, recording: str, start: float, duration: float) -> SupervisionSegment:
        return SupervisionSegment(id, recording, start, duration, speaker=recording[:3])

    samples = padded[0].num_samples - 800
    parts = [
        heard("ann-whole", "ann-0", 0.0, padded[0].duration),
        heard("ann-first", "ann-0", 0.0, 1.5),
        heard("ann-last", "ann-0", 1.5, round(padded[0].duration - 1.5, 4)),
        heard("ann-padding", "ann-0", round(padded[0].duration - 0.04, 4), 0.04),
        *(heard(recording.id, recording.id, 0.0, recording.duration) for recording in padded[1:]),
    ]
    RecordingSet.from_recordings(padded).to_file(folders[0] / "corpus_recordings_train.jsonl.gz")
    SupervisionSet.from_segments(parts).to_file(folders[0] / "corpus_supervisions_train.jsonl.gz")
    prepare(*folders, "--max-skipped", 0.2)
    found = {row["id"]: row for row in rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")}
    assert found["ann-whole"]["duration"] == samples / 16000
    assert found["ann-first"]["duration"] == 1.5
    assert found["ann-last"]["start"] + found["ann-last"]["duration"] == samples / 16000
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text()
    assert listed.startswith("ann-padding\tit begins behind the end of its recording\tat 3.01 of 3 s")
    make_cuts(tmp_path / "data", "--max-skipped", 0.2)
    cuts = {cut.id: cut for cut in CutSet.from_jsonl_lazy(tmp_path / "data" / "train" / "cuts.jsonl.gz")}
    assert [len(load_samples(cuts[id])) for id in ("ann-whole", "ann-first", "ann-last")] == [samples, 24000, 24000]


@needs_ffmpeg
def test_more_than_the_padding_of_an_encoder_is_a_lie(prepare, padded, folders, tmp_path):
    longer = padded[0].num_samples - 800 + 2049
    padded[0] = Recording("ann-0", padded[0].sources, 16000, longer, longer / 16000)
    padded[1] = Recording("bob-0", padded[1].sources, 44100, 48000, 48000 / 44100)
    RecordingSet.from_recordings(padded).to_file(folders[0] / "corpus_recordings_train.jsonl.gz")
    (folders[0] / "corpus_supervisions_train.jsonl.gz").unlink()
    prepare(*folders, "--max-skipped", 0.7)
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text().splitlines()
    assert listed == [
        "ann-0\tthe manifest lies\t50049 samples at 16000 Hz where there are 48000 at 16000 Hz",
        "bob-0\tthe manifest lies\t48000 samples at 44100 Hz where there are 48000 at 16000 Hz",
    ]


@pytest.fixture
def stereo(tmp_path) -> Recording:
    """Silence in the first channel, a voice in the second; Lhotse calls them 4 and 7."""
    path = write_voice(tmp_path / "stereo" / "ann.wav", 0, 0, 3.0)
    samples = soundfile.read(path)[0]
    soundfile.write(path, np.stack([0 * samples, samples], axis=1), 16000)
    return Recording("ann", [AudioSource("file", [4, 7], str(path))], 16000, 48000, 3.0, channel_ids=[4, 7])


def channels_of(cuts: list, prepare, make_cuts, test, tmp_path) -> dict[str, int]:
    """The column from which stage 1 takes each cut."""
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts_train.jsonl.gz")
    prepare(tmp_path / "cuts_train.jsonl.gz", test, "--max-skipped", 0.5)
    make_cuts(tmp_path / "data", "--max-skipped", 0.5)
    made = list(CutSet.from_jsonl_lazy(tmp_path / "data" / "train" / "cuts.jsonl.gz"))
    for cut in made:
        column = soundfile.read(cut.recording.sources[0].source, always_2d=True)[0][:, cut.channel]
        assert (load_samples(cut) == column.astype(np.float32)).all()
    return {cut.id: cut.channel for cut in made}


def test_a_channel_is_the_column_that_its_recording_has_it_in(prepare, stereo, cut_manifests, make_cuts, tmp_path):
    path = write_voice(tmp_path / "stereo" / "bob.wav", 1, 0, 3.0)
    mono = Recording("bob", [AudioSource("file", [1], str(path))], 16000, 48000, 3.0, channel_ids=[1])
    array = tmp_path / "stereo" / "cyd.wav"
    soundfile.write(array, np.random.default_rng(0).uniform(-0.1, 0.1, (48000, 4)), 16000)
    several = Recording.from_file(array)
    cuts = [
        MonoCut("mono", 0.0, 3.0, 1, recording=mono),
        MonoCut("first", 0.0, 3.0, 4, recording=stereo),
        MonoCut("second", 0.0, 3.0, 7, recording=stereo),
        MultiCut("list-of-one", 0.0, 3.0, [7], recording=stereo),
        MultiCut("all", 0.0, 3.0, [4, 7], recording=stereo),
        MultiCut("some", 0.0, 3.0, [2, 3], recording=several),
        MonoCut("none", 0.0, 3.0, 1, recording=stereo),
        MultiCut("none-of-two", 0.0, 3.0, [0, 4], recording=stereo),
    ]
    found = channels_of(cuts, prepare, make_cuts, cut_manifests[1], tmp_path)
    assert found == {"mono": 0, "first": 0, "second": 1, "list-of-one": 1, "all": 0, "some": 2}
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text().splitlines()
    assert sorted(listed) == [
        "none\tits recording lacks the channel\t1",
        "none-of-two\tits recording lacks the channel\t0",
    ]


def test_the_channel_of_a_supervision_may_be_a_list(prepare, stereo, folders, tmp_path):
    heard = SupervisionSegment("ann-1", "ann", 0.0, 1.5, channel=[7], speaker="ann")
    RecordingSet.from_recordings([stereo]).to_file(folders[0] / "corpus_recordings_train.jsonl.gz")
    SupervisionSet.from_segments([heard]).to_file(folders[0] / "corpus_supervisions_train.jsonl.gz")
    prepare(*folders)
    assert rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")[0]["channel"] == 1


def test_a_channel_that_the_file_lacks_is_skipped(prepare, recordings, cut_manifests, tmp_path):
    own = next(iter(recordings["train"]))
    lying = Recording("two", [AudioSource("file", [0, 1], own.sources[0].source)], 16000, 48000, 3.0)
    cuts = [
        MonoCut("second", 0.0, 3.0, 1, recording=lying),
        MonoCut("there", 0.0, 3.0, 0, recording=lying),
    ]
    CutSet.from_cuts(cuts).to_file(cut_manifests[0])
    prepare(*cut_manifests, "--max-skipped", 0.5)
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text()
    assert listed == "second\tthe manifest lies\tit has more channels than the file, which has 1\n"


def test_mixtures_and_features_alone_are_skipped(prepare, cut_manifests, tmp_path):
    cuts = list(CutSet.from_file(cut_manifests[0]))
    mixed = cuts[0].mix(cuts[5])
    alone = MonoCut("alone", 0.0, 1.0, 0, supervisions=[])
    CutSet.from_cuts([*cuts[1:], mixed, alone]).to_file(cut_manifests[0])
    prepare(*cut_manifests, "--max-skipped", 0.5)
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text().splitlines()
    assert len(listed) == 2
    assert all("\tit has no recording of its own" in line for line in listed)


def test_what_is_no_manifest_is_a_sentence(prepare, folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SdpnError, match=r"empty holds no Lhotse manifest"):
        prepare(tmp_path / "empty", folders[1])
    (tmp_path / "cuts_none.jsonl").touch()
    with pytest.raises(SdpnError, match=r"cuts_none.jsonl is empty"):
        prepare(tmp_path / "cuts_none.jsonl", folders[1])
    with pytest.raises(SdpnError, match=r"nowhere: there is no such file or folder"):
        prepare(tmp_path / "nowhere", folders[1])
    with pytest.raises(SdpnError, match=r"is a SupervisionSet where cuts were expected: .*name that of recordings"):
        prepare(folders[0] / "corpus_supervisions_train.jsonl.gz", folders[1])
    (folders[0] / "corpus_recordings_train.jsonl.gz").write_bytes(b"\x1f\x8bdamage")
    with pytest.raises(SdpnError, match=r"train: not a readable Lhotse manifest"):
        prepare(*folders)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".yaml"])
def test_a_byte_order_mark_is_skipped_in_every_form(clips, prepare, recordings, cut_manifests, tmp_path, suffix):
    """Some editors put one before the text."""

    def parts(data):
        found = rows(data / "train" / "supervisions.jsonl.gz")
        return sorted((row["recording_id"], row["start"], row["duration"]) for row in found)

    prepare(*cut_manifests)
    expected = parts(tmp_path / "data")
    folder = tmp_path / "marked"
    folder.mkdir()
    recordings["train"].to_file(folder / f"recordings{suffix}")
    segments(recordings["train"]).to_file(folder / f"supervisions{suffix}")
    CutSet.from_file(cut_manifests[0]).to_eager().to_file(folder / f"cuts{suffix}")
    for path in folder.iterdir():
        open_any = gzip.open if path.suffix == ".gz" else open
        with open_any(path, "rb") as opened:
            content = opened.read()
        with open_any(path, "wb") as opened:
            opened.write(b"\xef\xbb\xbf" + content)
    for train in (folder / f"cuts{suffix}", folder):
        again = tmp_path / f"data-{train.name}"
        program("prepare_lhotse")("--train", train, "--eval", cut_manifests[1], *clips, again)
        assert parts(again) == expected


def test_two_manifests_of_a_kind_and_ids_used_twice_are_a_sentence(prepare, recordings, folders, tmp_path):
    double = list(segments(recordings["train"]))
    path = folders[0] / "corpus_supervisions_train.jsonl.gz"
    SupervisionSet.from_segments([*double, double[0]]).to_file(path)
    with pytest.raises(SdpnError, match=r"two utterances have the id ann-0-0"):
        prepare(*folders)
    SupervisionSet.from_segments(double).to_file(folders[0] / "other_supervisions.jsonl.gz")
    with pytest.raises(SdpnError, match=r"holds 2 manifests of supervisions"):
        prepare(*folders)


def test_recordings_by_name_come_with_the_supervisions_beside_them(prepare, recordings, tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name, own in recordings.items():
        own.to_file(folder / f"corpus_recordings_{name}.jsonl.gz")
        segments(own).to_file(folder / f"corpus_supervisions_{name}.jsonl.gz")
    with pytest.raises(SdpnError, match=r"holds 2 manifests of recordings, .*: name one"):
        prepare(folder, folder)
    prepare(*(folder / f"corpus_recordings_{name}.jsonl.gz" for name in recordings))
    for name, own in (("train", "train"), ("eval", "test")):
        found = rows(tmp_path / "data" / name / "supervisions.jsonl.gz")
        assert {row["id"] for row in found} == {segment.id for segment in segments(recordings[own])}


def test_without_supervisions_and_evaluation_set_all_of_it_is_trained_on(clips, folders, tmp_path):
    (folders[0] / "corpus_supervisions_train.jsonl.gz").unlink()
    program("prepare_lhotse")("--train", folders[0], *clips, tmp_path / "data")
    assert len(rows(tmp_path / "data" / "train" / "recordings.jsonl.gz")) == 6
    assert Corpus.read(tmp_path / "data").evals == []


def test_recordings_by_name_without_supervisions_are_utterances(prepare, recordings, folders, tmp_path):
    recordings["train"].to_file(tmp_path / "recordings.jsonl.gz")
    prepare(tmp_path / "recordings.jsonl.gz", folders[1])
    found = rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")
    assert {row["id"] for row in found} == {recording.id for recording in recordings["train"]}


def test_cuts_may_have_recordings_in_their_name(prepare, cut_manifests, tmp_path):
    named = cut_manifests[0].rename(tmp_path / "recordings_cut.jsonl.gz")
    prepare(named, cut_manifests[1])
    assert len(rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")) == 12


def test_recordings_of_one_id_in_two_files_are_a_sentence(prepare, recordings, cut_manifests):
    one, other, *_ = recordings["train"]
    cuts = [one.to_cut(), fastcopy(fastcopy(other, id=one.id).to_cut(), id="other")]
    CutSet.from_cuts(cuts).to_file(cut_manifests[0])
    with pytest.raises(SdpnError, match=r"the recording ann-0 is once .*ann-0.flac and once .*ann-1.flac"):
        prepare(*cut_manifests)


def test_several_evaluation_sets_have_the_names_of_their_folders(clips, folders, recordings, tmp_path):
    (tmp_path / "eval_far").mkdir()
    own = RecordingSet.from_recordings(recordings["test"])
    own.to_file(tmp_path / "eval_far" / "recordings.jsonl.gz")
    segments(own).to_file(tmp_path / "eval_far" / "supervisions.jsonl.gz")
    both = f"{folders[1]},{tmp_path / 'eval_far'}"
    program("prepare_lhotse")("--train", folders[0], "--eval", both, *clips, tmp_path / "data")
    assert {path.stem for path in (tmp_path / "data" / "trials").iterdir()} == {"eval_test", "eval_far"}
