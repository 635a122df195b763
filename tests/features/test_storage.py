import h5py
import kaldi_native_io
import kaldiio
import numpy as np
import pytest

from sdpn.features.config import FbankConfig
from sdpn.features.fbank import Fbank
from sdpn.features.index import FeatureIndex
from tests.features.conftest import load_tone

TOLERANCE = {"none": 0.0, "16bit": 3e-4, "8bit": 0.06, "float16": 8e-3}


@pytest.mark.parametrize("compress", ["none", "16bit", "8bit"])
@pytest.mark.parametrize("feats_type", ["ark", "hdf5"])
def test_what_is_written_is_read_back(make_cache, tones, feats_type, compress):
    config = FbankConfig(feats_type=feats_type, compress=compress, shard_size=4)
    index = FeatureIndex.open(make_cache(config))
    fbank = Fbank(config)
    for row, tone in enumerate(tones):
        assert np.abs(index.read(row) - fbank(load_tone(tone))).max() <= TOLERANCE[compress]


def test_hdf5_also_holds_half_precision(make_cache, tones):
    config = FbankConfig(feats_type="hdf5", compress="float16")
    index = FeatureIndex.open(make_cache(config))
    assert np.abs(index.read(0) - Fbank(config)(load_tone(tones[0]))).max() <= TOLERANCE["float16"]
    with pytest.raises(ValueError, match="which Kaldi's arks do not know"):
        FbankConfig(compress="float16").check()


@pytest.mark.parametrize("compress", ["none", "16bit", "8bit"])
def test_ark_and_hdf5_of_equal_precision_hold_equal_values(make_cache, compress):
    indices = [
        FeatureIndex.open(make_cache(FbankConfig(feats_type=kind, compress=compress), name=kind))
        for kind in ("ark", "hdf5")
    ]
    for row in range(len(indices[0])):
        np.testing.assert_array_equal(indices[0].read(row), indices[1].read(row))


@pytest.mark.parametrize("compress", ["none", "16bit", "8bit"])
def test_arks_are_read_alike_by_kaldiio_and_by_kaldi_native_io(make_cache, compress):
    directory = make_cache(FbankConfig(compress=compress, shard_size=4))
    index = FeatureIndex.open(directory)
    by_kaldiio = kaldiio.load_scp(str(directory / "feats.scp"))
    assert list(by_kaldiio) == index.ids
    for row, line in enumerate((directory / "feats.scp").read_text().splitlines()):
        name, place = line.split(" ", 1)
        native = kaldi_native_io.FloatMatrix.read(place).numpy()
        np.testing.assert_allclose(index.read(row), native, atol=1e-5)
        np.testing.assert_allclose(index.read(row), by_kaldiio[name], atol=1e-5)


def test_an_hdf5_shard_explains_itself_to_h5py(make_cache):
    directory = make_cache(FbankConfig(feats_type="hdf5", compress="8bit"))
    index = FeatureIndex.open(directory)
    with h5py.File(directory / "feats.0001.h5") as shard:
        assert shard["feats"].chunks is None
        assert shard["feats"].maxshape == shard["feats"].shape
        for row, name in enumerate(shard["ids"][:].astype(str)):
            first, count = shard["first_row"][row], shard["num_rows"][row]
            values = shard["feats"][first : first + count] * shard["step"][row] + shard["minimum"][row]
            np.testing.assert_allclose(values, index.read(index.ids.index(name)), atol=1e-5)
