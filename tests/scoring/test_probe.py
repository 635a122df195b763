import numpy as np
import pytest
import torch
from torch import nn

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.cache import fill
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from sdpn.scoring.probe import dev_eer, examination, halves_eer
from tests.features.conftest import Tone, load_tone, run_here

CPU = torch.device("cpu")


class MeanOfFrames(nn.Module):
    """Stands for an encoder that tells utterances apart: the mean of the frames that count, less a constant."""

    def forward(self, features, lengths):
        rows = [row[:length].mean(dim=0) for row, length in zip(features, lengths, strict=True)]
        return torch.stack(rows) - torch.stack(rows).mean()


class OneForAll(nn.Module):
    """Stands for a collapsed encoder."""

    def forward(self, features, lengths):
        return torch.ones(len(features), 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with a training set and a dev set of tones of four frequencies, two utterances each."""
    data = tmp_path_factory.mktemp("probe")
    tones = [Tone(f"tone{i}", 32000 + 800 * i) for i in range(8)]
    for name in ("train", "dev", "other"):
        fill(data / name, tones[:4] if name == "other" else tones, load_tone, FbankConfig(), {}, run_here)
    (data / "trials").mkdir()
    (data / "trials" / "dev.txt").write_text(
        "tone0 tone0 target\ntone1 tone1 target\ntone0 tone5 nontarget\ntone1 tone7 nontarget\n"
    )
    Corpus("tones", "train", ["other", "dev"], {"dev": "dev"}).write(data)
    return data


def test_an_encoder_that_tells_utterances_apart_makes_fewer_errors_than_one_that_does_not(data):
    examine = halves_eer(FeatureIndex.open(data / "train"), CPU, 8)
    assert examine(MeanOfFrames())["probe_eer"] < 0.2
    assert examine(OneForAll())["probe_eer"] == 0.5


def test_halves_are_each_cut_from_one_end_of_an_utterance(data):
    index, seen = FeatureIndex.open(data / "train"), []

    class Recorder(nn.Module):
        def forward(self, features, lengths):
            seen.append((features.clone(), lengths.clone()))
            return torch.randn(len(features), 3)

    halves_eer(index, CPU, 2)(Recorder())
    for half, (features, lengths) in enumerate(seen):
        for row, utterance in enumerate((0, 7)):
            length = min(int(index.frames[utterance]) // 2, 200)
            assert lengths[row] == length
            np.testing.assert_array_equal(
                features[row, :length], index.read(utterance, half * length, (half + 1) * length)
            )


def test_too_few_long_utterances_have_no_figure(data, tmp_path):
    fill(tmp_path / "short", [Tone("a", 4800), Tone("b", 4800)], load_tone, FbankConfig(), {}, run_here)
    assert halves_eer(FeatureIndex.open(tmp_path / "short"), CPU, 8)(MeanOfFrames()) == {}


@pytest.mark.parametrize("given", ["dev", "file"])
def test_the_error_rate_on_dev_trials(given, data, tmp_path):
    trials = "dev"
    if given == "file":
        trials = str(tmp_path / "list.txt")
        (tmp_path / "list.txt").write_bytes((data / "trials" / "dev.txt").read_bytes())
    assert dev_eer(FeatureIndex.open(data / "train"), data, trials, CPU)(MeanOfFrames())["dev_eer"] == 0


def test_unknown_trials_are_a_sentence(data, tmp_path):
    with pytest.raises(SdpnError, match=r"--dev-trials is 'eval', neither a file nor a trial list of .* \(dev\)"):
        dev_eer(FeatureIndex.open(data / "train"), data, "eval", CPU)
    (tmp_path / "list.txt").write_text("tone0 tone9 target\ntone0 tone5 nontarget\n")
    with pytest.raises(SdpnError, match=r"no set of .* has features of all its utterances: looked in other, dev"):
        dev_eer(FeatureIndex.open(data / "train"), data, str(tmp_path / "list.txt"), CPU)


def test_dev_features_of_another_kind_are_a_sentence(data, tmp_path):
    fill(tmp_path / "train", [Tone("a", 16000)], load_tone, FbankConfig(num_mel_bins=20), {}, run_here)
    with pytest.raises(SdpnError, match="has other features than"):
        dev_eer(FeatureIndex.open(tmp_path / "train"), data, "dev", CPU)


def test_an_examination_has_all_figures_asked_for(data):
    index = FeatureIndex.open(data / "train")
    assert set(examination(index, CPU, 8, data, "dev")(MeanOfFrames())) == {"probe_eer", "dev_eer"}
    assert set(examination(index, CPU, 8, data, None)(MeanOfFrames())) == {"probe_eer"}
    assert examination(index, CPU, 0, data, None)(MeanOfFrames()) == {}
