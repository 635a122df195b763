import numpy as np
import pytest

from sdpn.augment.banks import Banks, Copy
from sdpn.features.cache import fill
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from tests.features.conftest import Tone, load_tone, run_here


def load_hiss(item):
    return np.random.default_rng(item.num_samples).standard_normal(item.num_samples).astype(np.float32) * 0.1


def load_quieter(item):
    return load_tone(item) * 0.5


@pytest.fixture(scope="session")
def caches(tmp_path_factory):
    """caches(feats_type) -> (index of ten utterances, banks of one reverberated copy and two kinds of noise)."""
    made = {}

    def open_caches(feats_type):
        if feats_type not in made:
            root = tmp_path_factory.mktemp(feats_type)
            config = FbankConfig(feats_type=feats_type)
            tones = [Tone(f"utt{i:02d}", 8000 + 3200 * i) for i in range(10)]
            fill(root / "train", tones, load_tone, config, {}, run_here)
            fill(root / "reverb1", tones[:8], load_quieter, config, {}, run_here)
            fill(root / "noise", [Tone(f"n{i}", 16000 + i) for i in range(3)], load_hiss, config, {}, run_here)
            fill(root / "babble", [Tone(f"b{i}", 4000 + i) for i in range(3)], load_hiss, config, {}, run_here)
            train = FeatureIndex.open(root / "train")
            reverb = Copy(FeatureIndex.open(root / "reverb1"), train)
            noises = {kind: FeatureIndex.open(root / kind) for kind in ("noise", "babble")}
            made[feats_type] = train, Banks([reverb], noises)
        return made[feats_type]

    return open_caches
