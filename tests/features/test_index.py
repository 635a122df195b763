import pickle

import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from tests.features.conftest import Tone


def test_a_crop_is_the_slice_of_the_whole(make_cache):
    index = FeatureIndex.open(make_cache(FbankConfig()))
    np.testing.assert_array_equal(index.read(3, 10, 35), index.read(3)[10:35])
    assert index.read(3, 10, 10_000).shape == (index.frames[3] - 10, 80)


def test_ids_are_sorted_by_their_bytes(make_cache):
    items = [Tone(name, 8000) for name in ("b", "Z", "é", "a-1", "a_1")]
    assert FeatureIndex.open(make_cache(FbankConfig(), items=items)).ids == ["Z", "a-1", "a_1", "b", "é"]


def test_an_index_travels_to_other_processes_without_its_maps(make_cache):
    index = FeatureIndex.open(make_cache(FbankConfig()))
    whole = index.read(0)
    packed = pickle.dumps(index)
    assert len(packed) < 10_000
    np.testing.assert_array_equal(pickle.loads(packed).read(0), whole)


def test_a_set_without_features_says_which_stage_makes_them(tmp_path):
    with pytest.raises(SdpnError, match="run stage 2 first"):
        FeatureIndex.open(tmp_path)


def test_missing_and_cut_off_feature_files_are_sentences(make_cache):
    directory = make_cache(FbankConfig())
    ark = directory / "feats.0001.ark"
    content = ark.read_bytes()
    ark.write_bytes(content[: len(content) // 2])
    with pytest.raises(SdpnError, match=r"feats.0001.ark is cut off"):
        FeatureIndex.open(directory).read(9)
    ark.unlink()
    with pytest.raises(SdpnError, match=r"feats.0001.ark is missing"):
        FeatureIndex.open(directory).read(0)
