"""Kaldi's PLDA file, byte by byte as src/ivector/plda.cc writes it, its arrays read by kaldi_native_io."""

import struct

import kaldi_native_io
import numpy as np
import pytest

from sdpn.backend.kaldi_plda import read_kaldi_plda, write_kaldi_plda
from sdpn.backend.plda import PLDA
from sdpn.errors import SdpnError


@pytest.fixture
def plda():
    rng = np.random.default_rng(0)
    classes = np.arange(120) % 12
    return PLDA().fit(rng.normal(size=(120, 5)) + 2 * rng.normal(size=(12, 5))[classes], classes)


def test_the_bytes_are_kaldis(plda, tmp_path):
    write_kaldi_plda(tmp_path / "plda", plda)
    size = struct.pack("<i", 5)
    expected = b"\0B<Plda> DV \x04" + size + plda.mean_.tobytes() + b"DM \x04" + size + b"\x04" + size
    expected += plda.transform_.tobytes() + b"DV \x04" + size + plda.psi_.tobytes() + b"</Plda> "
    assert (tmp_path / "plda").read_bytes() == expected


def test_the_arrays_in_it_are_read_by_kaldi_native_io(plda, tmp_path):
    write_kaldi_plda(tmp_path / "plda", plda)
    data = (tmp_path / "plda").read_bytes()
    matrix = data[data.index(b"DM ") : data.index(b"DM ") + 3 + 10 + 8 * 25]
    (tmp_path / "matrix").write_bytes(b"\0B" + matrix)
    read = kaldi_native_io.DoubleMatrix.read(str(tmp_path / "matrix"))
    np.testing.assert_array_equal(np.array(read.numpy()), plda.transform_)


def test_what_is_written_is_read_and_scores_the_same(plda, tmp_path):
    write_kaldi_plda(tmp_path / "plda", plda)
    read = read_kaldi_plda(tmp_path / "plda")
    for name in ("mean_", "transform_", "psi_"):
        np.testing.assert_array_equal(getattr(read, name), getattr(plda, name))
    X = np.random.default_rng(1).normal(size=(6, 5))
    counts = np.array([1, 2, 3, 1, 5, 4])
    scores = [model.score_matrix(model.transform(X, counts), model.transform(X), counts) for model in (plda, read)]
    np.testing.assert_array_equal(*scores)


def test_single_precision_is_read_too(plda, tmp_path):
    size = struct.pack("<i", 5)
    mean, transform, psi = (array.astype("<f4").tobytes() for array in (plda.mean_, plda.transform_, plda.psi_))
    data = b"\0B<Plda> FV \x04" + size + mean + b"FM \x04" + size + b"\x04" + size + transform
    (tmp_path / "plda").write_bytes(data + b"FV \x04" + size + psi + b"</Plda> ")
    np.testing.assert_allclose(read_kaldi_plda(tmp_path / "plda").psi_, plda.psi_, rtol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda data: data[2:], "does not begin with"),
        (lambda data: data[:-8], "does not end with"),
        (lambda data: data[:60], "not a binary Kaldi PLDA"),
        (lambda data: data.replace(b"DM ", b"DV "), "not a binary Kaldi PLDA"),
        (lambda data: b"<Plda> [ 1 2 ]", "does not begin with"),
    ],
)
def test_a_file_that_is_none_is_refused_in_a_sentence(plda, tmp_path, spoil, sentence):
    write_kaldi_plda(tmp_path / "plda", plda)
    (tmp_path / "plda").write_bytes(spoil((tmp_path / "plda").read_bytes()))
    with pytest.raises(SdpnError, match=sentence):
        read_kaldi_plda(tmp_path / "plda")


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("psi_", -0.5, "negative between-class variances"),
        ("psi_", np.nan, "NaN or infinity"),
        ("mean_", np.inf, "NaN or infinity"),
        ("transform_", np.nan, "NaN or infinity"),
    ],
)
def test_a_plda_whose_scores_would_be_no_numbers_is_refused(plda, tmp_path, part, value, sentence):
    getattr(plda, part)[-1] = value
    write_kaldi_plda(tmp_path / "plda", plda)
    with pytest.raises(SdpnError, match=f"plda: the PLDA in it .*{sentence}.*: it cannot score"):
        read_kaldi_plda(tmp_path / "plda")


def test_a_missing_file_and_a_plda_of_fewer_dimensions_are_refused(tmp_path):
    with pytest.raises(SdpnError, match="there is no such file"):
        read_kaldi_plda(tmp_path / "plda")
    rng = np.random.default_rng(2)
    classes = np.arange(60) % 6
    flat = rng.normal(size=(60, 3)) + 2 * rng.normal(size=(6, 3))[classes]
    with pytest.raises(SdpnError, match=r"spanned 3: put `lda 3` before it"):
        write_kaldi_plda(tmp_path / "plda", PLDA().fit(np.hstack([flat, flat[:, :1]]), classes))
