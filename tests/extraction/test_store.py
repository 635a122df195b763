import subprocess
import sys

import h5py
import kaldi_native_io
import kaldiio
import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.extraction.store import XVectors, read_xvectors, vectors_file, write_xvectors

VECTORS = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
IDS = ["b/2", "a", "ä", "B"]
SORTED = ["B", "a", "b/2", "ä"]  # by their UTF-8 bytes
MADE = XVectors(IDS, VECTORS, np.array([10, 20, 30, 40]))


def check(found):
    assert found.ids == SORTED
    np.testing.assert_array_equal(found.vectors, VECTORS[[3, 1, 0, 2]])
    assert found.num_frames.tolist() == [40, 20, 10, 30]


@pytest.mark.parametrize("form", ["ark", "hdf5"])
def test_x_vectors_read_back_sorted_with_their_frames(tmp_path, form):
    written = write_xvectors(tmp_path, MADE, form)
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()}
    assert vectors_file(tmp_path) in written
    check(read_xvectors(tmp_path))


@pytest.mark.parametrize(("before", "after"), [("ark", "hdf5"), ("hdf5", "ark")])
def test_what_was_written_before_in_another_form_is_gone(tmp_path, before, after):
    write_xvectors(tmp_path, XVectors(["old"], VECTORS[:1] + 1, np.array([1])), before)
    written = write_xvectors(tmp_path, MADE, after)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written}
    check(read_xvectors(tmp_path))


def test_kaldiio_reads_vectors_by_the_scp(tmp_path):
    write_xvectors(tmp_path, MADE)
    found = kaldiio.load_scp(str(tmp_path / "xvector.scp"))
    assert list(found) == SORTED
    np.testing.assert_array_equal(np.stack(list(found.values())), VECTORS[[3, 1, 0, 2]])


def test_kaldi_native_io_reads_vectors_by_scp_and_by_ark(tmp_path):
    write_xvectors(tmp_path, MADE)
    for where in (f"scp:{tmp_path}/xvector.scp", f"ark:{tmp_path}/xvector.ark"):
        with kaldi_native_io.SequentialFloatVectorReader(where) as reader:
            found = {name: np.array(vector) for name, vector in reader}
        assert list(found) == SORTED
        np.testing.assert_array_equal(np.stack(list(found.values())), VECTORS[[3, 1, 0, 2]])


def test_hdf5_is_three_plain_datasets(tmp_path):
    write_xvectors(tmp_path, MADE, "hdf5")
    with h5py.File(tmp_path / "xvector.h5") as opened:
        assert set(opened) == {"ids", "vectors", "num_frames"}
        assert opened["vectors"].shape == (4, 6) and opened["vectors"].dtype == np.float32


@pytest.mark.parametrize("form", ["ark", "hdf5"])
def test_a_limit_on_the_size_of_files_is_a_sentence(tmp_path, form):
    script = f"""
import resource, signal
import numpy as np
from sdpn.extraction.store import XVectors, write_xvectors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
found = XVectors([f"u{{n}}" for n in range(500)], np.ones((500, 64)), np.ones(500, dtype=np.int64))
write_xvectors({str(tmp_path)!r}, found, {form!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "cannot write" in done.stderr and "the file size limit is reached" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"utt2num_frames"}


@pytest.mark.parametrize(("form", "name"), [("ark", "xvector.ark"), ("ark", "utt2num_frames"), ("hdf5", "xvector.h5")])
def test_a_file_that_is_cut_off_is_a_sentence(tmp_path, form, name):
    write_xvectors(tmp_path, MADE, form)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(SdpnError, match=f"{name}.* is damaged: run stage 5 again"):
        read_xvectors(tmp_path)


def test_an_empty_folder_says_which_stage_fills_it(tmp_path):
    with pytest.raises(SdpnError, match="run stage 5 first"):
        read_xvectors(tmp_path)
