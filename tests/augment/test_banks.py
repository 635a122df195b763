import numpy as np
import pytest

from sdpn.augment.banks import bank_names, open_banks
from sdpn.augment.config import NOISE_KINDS
from sdpn.errors import SdpnError
from sdpn.features.cache import fill
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from sdpn.shards import Work
from tests.features.conftest import Tone, load_tone, run_here

TONES = [Tone(f"utt{i}", 8000) for i in range(4)]


@pytest.fixture
def train(tmp_path):
    fill(tmp_path / "train", TONES, load_tone, FbankConfig(), {}, run_here)
    return FeatureIndex.open(tmp_path / "train")


def make(folder, train, names, config=FbankConfig()):  # noqa: B008  (frozen)
    for name in names:
        fill(folder / name, TONES[1:], load_tone, config, {}, run_here)
    noises = [name for name in names if name in NOISE_KINDS]
    reverbs = [name for name in names if name.startswith("reverb")]
    others = [[0.9, [name]] for name in names if name == "speed0.9"]
    Work(folder, "augment", {"train": train.fingerprint}).finish(
        [], mode="mel", noises=noises, copies=[[1.0, ["", *reverbs]], *others], rooms=False, max_taps=0
    )


def test_banks_are_those_that_stage_3_made_last(tmp_path, train):
    make(tmp_path / "augment", train, ["noise", "music", "reverb1", "reverb2"])
    make(tmp_path / "augment", train, ["noise", "reverb1"])
    banks = open_banks(tmp_path, train)
    assert list(banks.noises) == ["noise"]
    assert [(speed.factor, len(speed.reverbs)) for speed in banks.speeds] == [(1.0, 1)]


def test_other_speeds_stand_beside_the_one_that_was_spoken(tmp_path, train):
    make(tmp_path / "augment", train, ["reverb1", "speed0.9"])
    banks = open_banks(tmp_path, train)
    assert [(speed.factor, speed.clean is None, len(speed.reverbs)) for speed in banks.speeds] == [
        (1.0, True, 1),
        (0.9, False, 0),
    ]
    assert bank_names(1, (0.9, 1.0)) == {0.9: ["speed0.9", "reverb1-speed0.9"], 1.0: ["", "reverb1"]}


def test_a_reverberated_copy_knows_which_utterances_it_lacks(tmp_path, train):
    make(tmp_path / "augment", train, ["reverb1"])
    copy = open_banks(tmp_path, train).speeds[0].reverbs[0]
    assert copy.rows.tolist() == [-1, 0, 1, 2]
    np.testing.assert_array_equal(copy.index.read(0), train.read(1))


def test_stage_3_not_run_and_features_changed_since_are_sentences(tmp_path, train):
    with pytest.raises(SdpnError, match="run stage 3 first"):
        open_banks(tmp_path, train)
    make(tmp_path / "augment", train, ["noise"])
    fill(tmp_path / "train", TONES[:3], load_tone, FbankConfig(), {}, run_here)
    with pytest.raises(SdpnError, match="run stage 3 again"):
        open_banks(tmp_path, FeatureIndex.open(tmp_path / "train"))


def test_a_bank_with_other_fbank_settings_is_refused(tmp_path, train):
    make(tmp_path / "augment", train, ["noise"], FbankConfig(low_freq=60.0))
    with pytest.raises(SdpnError, match="other fbank settings"):
        open_banks(tmp_path, train)
