import os
import pickle

import h5py
import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from tests.features.conftest import Tone, flip_a_byte


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


@pytest.mark.parametrize("settings", [{}, {"compress": "none"}, {"feats_type": "hdf5", "compress": "float16"}])
def test_a_crop_is_written_where_it_is_wanted(make_cache, settings):
    index = FeatureIndex.open(make_cache(FbankConfig(**settings)))
    batch = np.zeros((2, 20, 80), dtype=np.float32)
    index.read(3, 10, 30, out=batch[1])
    np.testing.assert_array_equal(batch[1], index.read(3)[10:30])
    assert not batch[0].any()


def test_an_utterance_is_found_by_its_id(make_cache):
    items = [Tone(name, 8000) for name in ("b", "Z", "é", "a-1")]
    index = FeatureIndex.open(make_cache(FbankConfig(), items=items))
    assert [index.number_of(name) for name in ("Z", "a-1", "b", "é", "nobody", "")] == [0, 1, 2, 3, None, None]


@pytest.mark.parametrize("feats_type", ["ark", "hdf5"])
@pytest.mark.parametrize("compress", ["none", "16bit", "8bit"])
def test_a_flipped_byte_is_never_taken_for_speech(make_cache, feats_type, compress):
    directory = make_cache(FbankConfig(feats_type=feats_type, compress=compress))
    offset = int(FeatureIndex.open(directory).offsets[4])
    flip_a_byte(next(directory.glob("feats.0001.*")), offset + 1234)
    index = FeatureIndex.open(directory)
    index.read(3, 0, 10)
    with pytest.raises(SdpnError, match=r"feats.0001.* is damaged \(the features of utt04"):
        index.read(4, 0, 10)
    assert [utterance for utterance, _ in index.damaged()] == [4]


def test_an_hdf5_file_that_was_never_closed_is_a_sentence(make_cache):
    directory = make_cache(FbankConfig(feats_type="hdf5"))
    path = directory / "feats.0001.h5"
    size = path.stat().st_size
    file = h5py.File(path, "w", libver="latest")
    file.create_dataset("feats", data=np.zeros((1, 80), dtype=np.uint16))
    os.truncate(path, size)
    with pytest.raises(SdpnError, match="is damaged"):
        FeatureIndex.open(directory).read(0)
    file.close()


def test_a_damaged_index_is_a_sentence(make_cache):
    directory = make_cache(FbankConfig())
    table = directory / "index" / "table.bin"
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(SdpnError, match="index is damaged or of another version: run stage 2 again"):
        FeatureIndex.open(directory)
    (directory / "index" / "index.json").write_text("{")
    with pytest.raises(SdpnError, match="is damaged"):
        FeatureIndex.open(directory)


@pytest.mark.parametrize("at", [3, -3, -43, -90])
def test_a_flipped_byte_of_the_index_is_never_taken_for_a_place_or_a_scale(make_cache, at):
    directory = make_cache(FbankConfig())
    flip_a_byte(directory / "index" / "table.bin", at)
    with pytest.raises(SdpnError, match="index is damaged or of another version: run stage 2 again"):
        FeatureIndex.open(directory)


def test_damaged_or_missing_ids_are_a_sentence(make_cache):
    directory = make_cache(FbankConfig())
    ids = directory / "index" / "ids.txt"
    for change in (lambda: flip_a_byte(ids, 4), lambda: os.truncate(ids, 12), ids.unlink):
        change()
        with pytest.raises(SdpnError, match=r"ids.txt is missing or damaged: run its stage again"):
            FeatureIndex.open(directory).number_of("utt03")


def test_an_index_of_another_format_is_made_anew_and_no_feature_is(make_cache, monkeypatch, capsys):
    directory = make_cache(FbankConfig())
    made = (directory / "feats.0001.ark").stat().st_mtime_ns
    for module in ("index", "index_files", "cache"):
        monkeypatch.setattr(f"sdpn.features.{module}.FORMAT", 99)
    with pytest.raises(SdpnError, match="of another version"):
        FeatureIndex.open(directory)
    make_cache(FbankConfig())
    assert "the index is made again: format of the index was " in capsys.readouterr().out
    assert len(FeatureIndex.open(directory)) == 10
    assert (directory / "feats.0001.ark").stat().st_mtime_ns == made


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
