import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import kaldi_native_io
import kaldiio
import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.extraction.store import XVectors, write_xvectors
from sdpn.extraction.vector_files import read_vectors

IDS = ["id1/b/c", "id1/a", "Id2"]
VECTORS = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def write_ark(path, matrices=False):
    with kaldiio.WriteHelper(f"ark,scp:{path}.ark,{path}.scp") as writer:
        for name, vector in zip(IDS, VECTORS, strict=True):
            writer(name, vector[None] if matrices else vector)


def write_hdf5(path, **datasets):
    with h5py.File(path, "w") as opened:
        for name, data in datasets.items():
            opened[name] = data


def check(found):
    assert found.ids == ["Id2", "id1/a", "id1/b/c"]
    np.testing.assert_array_equal(found.vectors, VECTORS[::-1])


@pytest.mark.parametrize("suffix", ["ark", "scp"])
@pytest.mark.parametrize("matrices", [False, True])
def test_kaldi_files_hold_vectors_or_matrices_of_one_row(tmp_path, suffix, matrices):
    write_ark(tmp_path / "x", matrices)
    check(read_vectors(tmp_path / f"x.{suffix}"))


@pytest.mark.parametrize("matrices", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_packed_arks_are_read_by_name_and_by_list(tmp_path, matrices, text):
    """Offsets are those of what was packed, and the lines of a list stand in any order, beside those of a plain ark."""
    write_ark(tmp_path / "x", matrices)
    with kaldiio.WriteHelper(f"ark{',t' if text else ''},scp:{tmp_path}/y,{tmp_path}/y.scp") as writer:
        for name, vector in zip(IDS, VECTORS, strict=True):
            writer(name, vector[None] if matrices else vector)
    (tmp_path / "y.ark.gz").write_bytes(gzip.compress((tmp_path / "y").read_bytes()))
    packed = (tmp_path / "y.scp").read_text().replace(f"{tmp_path}/y:", f"{tmp_path}/y.ark.gz:").splitlines()
    (tmp_path / "y.scp").write_text("\n".join(packed[::-1]))
    check(read_vectors(tmp_path / "y.scp"))
    (tmp_path / "y.scp").write_text("\n".join([*(tmp_path / "x.scp").read_text().splitlines()[:1], *packed[:0:-1]]))
    check(read_vectors(tmp_path / "y.scp"))
    check(read_vectors(tmp_path / "y.ark.gz"))
    (tmp_path / "cut.ark.gz").write_bytes((tmp_path / "y.ark.gz").read_bytes()[:-20])
    with pytest.raises(SdpnError, match="cannot be read as ark"):
        read_vectors(tmp_path / "cut.ark.gz")


def test_hdf5_holds_an_array_for_each_utterance(tmp_path):
    write_hdf5(tmp_path / "x.h5", **dict(zip(IDS, VECTORS, strict=True)))
    check(read_vectors(tmp_path / "x.h5"))


def test_hdf5_holds_a_matrix_and_the_names_of_its_rows(tmp_path):
    write_hdf5(tmp_path / "x.hdf5", embeddings=VECTORS, utts=np.array(IDS, dtype="S"))
    check(read_vectors(tmp_path / "x.hdf5"))


def test_npz_holds_either(tmp_path):
    np.savez(tmp_path / "a.npz", **dict(zip(IDS, VECTORS, strict=True)))
    np.savez(tmp_path / "b.npz", ids=np.array(IDS), xvectors=VECTORS)
    check(read_vectors(tmp_path / "a.npz"))
    check(read_vectors(tmp_path / "b.npz"))


def test_a_folder_of_stage_5_is_read_with_its_frames(tmp_path):
    write_xvectors(tmp_path, XVectors(IDS, VECTORS, np.array([1, 2, 3])))
    found = read_vectors(tmp_path)
    check(found)
    assert found.num_frames.tolist() == [3, 2, 1]


def save(**arrays):
    return lambda path: np.savez(path, **arrays)


def test_marks_and_line_ends_of_an_scp_do_not_matter(tmp_path):
    write_ark(tmp_path / "x")
    lines = (tmp_path / "x.scp").read_bytes().replace(b" ", b"\t").replace(b"\n", b"\r\n\r\n")
    (tmp_path / "x.scp").write_bytes(b"\xef\xbb\xbf" + lines)
    check(read_vectors(tmp_path / "x.scp"))


@pytest.mark.parametrize(
    "line",
    [
        "a {command} |",
        "a {command} |:12",
        "a\t|{command}",
        "a |{command}",
        " a  | {command}",
        "a\x0b|{command}",
        "a -",
        "a -:5",
    ],
)
def test_a_command_in_an_scp_is_refused_and_not_run(tmp_path, line):
    (tmp_path / "x.scp").write_text(line.format(command=f"touch {tmp_path}/ran") + "\n")
    with pytest.raises(SdpnError, match="'a' is the output of a command"):
        read_vectors(tmp_path / "x.scp")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["ark", "scp"])
def test_a_file_that_is_named_like_a_command_is_read(tmp_path, monkeypatch, suffix):
    write_ark(tmp_path / "x")
    monkeypatch.chdir(tmp_path)
    named = Path(f"|touch ran; .{suffix}")
    (tmp_path / f"x.{suffix}").rename(named)
    check(read_vectors(named))
    assert not (tmp_path / "ran").exists()


class Mischief:
    def __reduce__(self):
        return (open, ("ran", "w"))


def test_objects_in_an_npz_are_refused_and_not_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", a=np.array([Mischief()], dtype=object))
    with pytest.raises(SdpnError, match="there is more in it than arrays of numbers and text"):
        read_vectors("x.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["ark", "scp"])
def test_objects_in_an_ark_are_refused_and_not_made(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    Path("x.ark").write_bytes(b"a PKL" + b"cos\nsystem\n(S'touch ran'\ntR.")
    Path("x.scp").write_text("a x.ark:2\n")
    with pytest.raises(SdpnError, match="more in it than arrays"):
        read_vectors(f"x.{suffix}")
    assert not Path("ran").exists()


def zipped(**members):
    def write(path):
        with zipfile.ZipFile(path, "w") as opened:
            for name, content in members.items():
                opened.writestr(f"{name}.npy", content)

    return write


HUGE = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }".ljust(118)


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("x.npz", zipped(a=HUGE), "cannot be read as npz: Unable to allocate"),
        ("x.npz", zipped(a=b"no array"), "cannot be read as npz: 'a' in it is no array"),
        ("x.ark", lambda path: path.write_bytes(b"a NPY"), "cannot be read as ark: "),
        (
            "x.scp",
            lambda path: path.write_text(f"a {path}:99\n"),
            "cannot be read as scp: there is no vector of Kaldi",
        ),
        ("x.scp", lambda path: path.write_text("a /dev/zero:99\n"), "/dev/zero is no regular file"),
        ("x.scp", lambda path: path.write_text("a /etc/passwd:3\n"), "there is no vector of Kaldi"),
        ("x.npz", lambda path: None, "there is no such file"),
        ("x.txt", lambda path: path.write_text("a 1 2"), "x-vectors are read from a folder of stage 5, .scp"),
        ("x.npz", lambda path: path.write_bytes(b"nothing"), "cannot be read as npz"),
        ("x.h5", lambda path: path.write_bytes(b"nothing"), "cannot be read as h5"),
        ("x.scp", lambda path: path.write_text("a nowhere.ark:5\n"), "cannot be read as scp"),
        ("x.npz", save(), "there are no x-vectors in it"),
        ("x.npz", save(a=np.ones(3), b=np.ones(4)), "its vectors have several dimensions: 3, 4"),
        ("x.npz", save(a=np.ones((3, 4)), b=np.ones(4)), "'a' is not a vector of numbers"),
        ("x.npz", save(ids=np.array(["a", "a"]), x=np.ones((2, 3))), "'a' stands there twice"),
        ("x.npz", save(a=np.ones(3), b=np.array([1, np.nan, 2])), "1 of 2 x-vectors hold NaN or infinity: b"),
        ("x.npz", save(a=np.ones(3), b=np.ones(3)), "all 2 x-vectors are the same"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path, name, write, sentence):
    write(tmp_path / name)
    with pytest.raises(SdpnError, match=sentence):
        read_vectors(tmp_path / name)


@pytest.mark.parametrize("words", ["<(grep -v b {scp})", "scp:<(grep -v b {scp})", "scp:{list}", "ark:<(cat {ark})"])
def test_lists_and_arks_come_out_of_pipes_and_behind_prefixes(tmp_path, words):
    """As bash makes them, and as Kaldi's users write them."""
    with kaldi_native_io.FloatVectorWriter(f"ark,scp:{tmp_path}/xvector.ark,{tmp_path}/xvector.scp") as writer:
        for number, name in enumerate("abc"):
            writer.write(name, np.full(4, number + 1, dtype=np.float32))
    (tmp_path / "list").write_text((tmp_path / "xvector.scp").read_text())
    names = dict(scp=tmp_path / "xvector.scp", ark=tmp_path / "xvector.ark", list=tmp_path / "list")
    program = "import sys; from sdpn.extraction.vector_files import read_vectors; print(read_vectors(sys.argv[1]).ids)"
    ran = subprocess.run(
        ["bash", "-c", f"{sys.executable} -c '{program}' {words.format(**names)}"], capture_output=True, text=True
    )
    assert ran.stdout.strip() == str(["a", "c"] if "grep" in words else ["a", "b", "c"]), ran.stderr
