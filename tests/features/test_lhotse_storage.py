"""Our files as Lhotse writes them: every entry point that opens a storage type, and what of older files remains."""

import os
import signal
import subprocess
import sys

import h5py
import kaldi_native_io
import numpy as np
import pytest
import soundfile
from lhotse import CutSet, FeatureSet, Recording

from sdpn.errors import SdpnError
from sdpn.features.lhotse_io import ArkFeatures, FbankExtractor, Hdf5Features
from tests.features.conftest import Tone, load_tone

BOTH = pytest.mark.parametrize("storage_type", [ArkFeatures, Hdf5Features])


@pytest.fixture
def cuts(tmp_path):
    """Four recordings, of 0.5 to 0.8 s."""
    made = []
    for number in range(4):
        path = tmp_path / "audio" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, load_tone(Tone(f"utt{number}", 8000 + 1600 * number)), 16000)
        made.append(Recording.from_file(path, recording_id=f"utt{number}").to_cut().with_id(f"utt{number}"))
    return CutSet.from_cuts(made)


def matrix(seed, rows=30):
    return np.random.default_rng(seed).normal(-6, 3, (rows, 20)).astype(np.float32)


def write(storage_type, path, matrices, **options):
    with storage_type(path, compress="none", **options) as writer:
        return {name: (writer.storage_path, writer.write(name, one)) for name, one in matrices.items()}


def read(storage_type, stored):
    from lhotse.features.io import get_reader

    path, key = stored
    return get_reader(storage_type.name)(path).read(key)


@BOTH
@pytest.mark.parametrize("collate", [True, False])
def test_a_batch_that_does_not_overwrite_keeps_the_features_of_the_first_run(cuts, tmp_path, storage_type, collate):
    settings = dict(storage_type=storage_type, num_workers=0, collate=collate)
    path, manifest = tmp_path / "feats", tmp_path / "cuts.jsonl.gz"
    CutSet.from_cuts(list(cuts)[:2]).compute_and_store_features_batch(
        FbankExtractor(), path, manifest_path=manifest, overwrite=True, **settings
    )
    stored = cuts.compute_and_store_features_batch(
        FbankExtractor(), path, manifest_path=manifest, overwrite=False, **settings
    )
    assert sorted(cut.id for cut in stored) == [f"utt{number}" for number in range(4)]
    for cut in stored:
        alone = FbankExtractor().extract(cut.load_audio(), 16000)
        np.testing.assert_allclose(cut.load_features(), alone, atol=1e-3)  # 16 bits
    if storage_type is ArkFeatures:
        with kaldi_native_io.SequentialFloatMatrixReader(f"ark:{path}.ark") as reader:
            assert [name for name, _ in reader] == [f"utt{number}" for number in range(4)]
    else:
        with h5py.File(f"{path}.h5") as file:
            assert sorted(file) == [f"utt{number}" for number in range(4)]


@BOTH
@pytest.mark.parametrize("mode", [None, "w"])
def test_storing_again_leaves_maps_of_the_older_file_whole(tmp_path, storage_type, mode):
    """In a process of its own: a map of a file that is cut short ends it by SIGBUS."""
    program = f"""
import gc
import numpy as np
from lhotse.features.io import get_reader
from sdpn.features.lhotse_storage import {storage_type.__name__} as Storage

def store(rows):
    with Storage({str(tmp_path / "feats")!r}, compress="none", mode={mode!r}) as writer:
        return writer.storage_path, writer.write("a", np.full((rows, 20), rows, np.float32))

path, key = store(100_000)
get_reader(Storage.name)(path).read(key, 0, 2)
path, newer = store(3)
assert (get_reader(Storage.name)(path).read(newer) == 3).all()
kept = [one for one in gc.get_objects() if isinstance(one, np.ndarray) and one.dtype == np.uint8 and one.size > 1e6]
assert kept and all(one[-100_000:].any() for one in kept)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@BOTH
def test_features_that_are_read_can_be_stored_again_to_where_they_lie(cuts, tmp_path, storage_type):
    stored = cuts.compute_and_store_features(FbankExtractor(), tmp_path / "feats", storage_type=storage_type)
    before = [cut.load_features() for cut in stored]
    with storage_type(tmp_path / "feats", compress="none") as writer:
        copied = FeatureSet.from_features(cut.features for cut in stored).copy_feats(writer)
    for features, expected in zip(copied, before, strict=True):
        np.testing.assert_array_equal(features.load(), expected)
    again = CutSet.from_cuts(cuts).compute_and_store_features(
        FbankExtractor(), tmp_path / "feats", storage_type=storage_type
    )
    for cut, expected in zip(again, before, strict=True):
        np.testing.assert_array_equal(cut.load_features(), expected)
    in_memory = again.to_eager().map(lambda cut: cut.move_to_memory(audio_format="wav"))
    for cut, expected in zip(in_memory, before, strict=True):
        np.testing.assert_allclose(cut.load_features(), expected, atol=1e-3)


@BOTH
def test_a_writer_that_fails_leaves_the_older_file_as_it_was(tmp_path, storage_type):
    stored = write(storage_type, tmp_path / "feats", {"a": matrix(0)})
    with pytest.raises(RuntimeError), storage_type(tmp_path / "feats") as writer:
        writer.write("a", matrix(1))
        raise RuntimeError
    np.testing.assert_array_equal(read(storage_type, stored["a"]), matrix(0))
    assert [path.name for path in tmp_path.iterdir()] == ["feats" + storage_type.suffix]


@BOTH
def test_a_writer_that_nobody_closes_is_finished_when_it_is_collected(tmp_path, storage_type):
    writer = storage_type(tmp_path / "feats", compress="none")
    stored = writer.storage_path, writer.write("a", matrix(0))
    assert not os.path.exists(writer.storage_path)
    del writer
    np.testing.assert_array_equal(read(storage_type, stored), matrix(0))


@BOTH
@pytest.mark.parametrize("mode", ["w", "a"])
def test_what_a_killed_writer_has_written_stays_and_is_appended_to(tmp_path, storage_type, mode):
    program = f"""
import os, signal, sys
import numpy as np
from sdpn.features.lhotse_storage import {storage_type.__name__} as Storage
writer = Storage({str(tmp_path / "feats")!r}, compress="none", mode={mode!r})
for number in range(3):
    values = np.random.default_rng(number).normal(-6, 3, (30, 20)).astype(np.float32)
    print(writer.storage_path, writer.write(f"utt{{number}}", values), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    stored = [tuple(line.split()) for line in ran.stdout.splitlines()]
    if storage_type is ArkFeatures:  # the write that was under way
        with open(stored[0][0], "ab") as ark:
            ark.write(b"utt3 \0BFM \4\36\0\0\0\4\24\0\0\0" + bytes(100))
    more = write(storage_type, tmp_path / "feats", {"utt2": matrix(8), "utt4": matrix(9)}, mode="a")
    found = [read(storage_type, one) for one in (*stored, *more.values())]
    for one, seed in zip(found, (0, 1, 2, 8, 9), strict=True):
        np.testing.assert_array_equal(one, matrix(seed))
    if storage_type is ArkFeatures:
        with kaldi_native_io.SequentialFloatMatrixReader(f"ark:{stored[0][0]}") as reader:
            assert [name for name, _ in reader] == ["utt0", "utt1", "utt2", "utt2", "utt4"]
    else:
        with h5py.File(stored[0][0]) as file:
            assert sorted(file) == ["utt0", "utt1", "utt2", "utt2#2", "utt4"]
            np.testing.assert_array_equal(file["utt2"], matrix(2))


def test_appending_to_what_is_no_storage_is_refused_and_leaves_it_as_it_is(tmp_path):
    for storage_type, content in (
        (ArkFeatures, b"a text\nof some lines, and of more than a header\n"),
        (Hdf5Features, b"x"),
    ):
        path = tmp_path / f"feats{storage_type.suffix}"
        path.write_bytes(content)
        with (
            pytest.raises(SdpnError, match=f"{path.name}.* (another file|another one)"),
            storage_type(path, mode="a") as writer,
        ):
            writer.write("a", matrix(0))
        assert path.read_bytes() == content


@BOTH
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.zeros(20, np.float32), r"\(20,\)"),
        (np.zeros((3, 4, 5), np.float32), r"\(3, 4, 5\)"),
        (np.zeros((0, 20), np.float32), r"\(0, 20\)"),
        (np.zeros((3, 20), np.int64), "int64"),
        (np.full((3, 20), np.nan, np.float32), "NaN or infinite"),
        (np.full((3, 20), 1e300), "NaN or infinite"),
        (np.zeros((3, 19), np.float32), "19 bins where .* has 20"),
    ],
)
def test_what_are_no_features_is_refused(tmp_path, storage_type, value, sentence):
    with storage_type(tmp_path / "feats") as writer:
        stored = writer.storage_path, writer.write("good", matrix(0))
        with pytest.raises(SdpnError, match=sentence):
            writer.write("bad", value)
    np.testing.assert_allclose(read(storage_type, stored), matrix(0), atol=1e-3)


def test_options_that_are_none_are_refused(tmp_path):
    with pytest.raises(SdpnError, match=r"zip.*16bit"):
        ArkFeatures(tmp_path / "feats", compress="zip")
    with pytest.raises(SdpnError, match=r"mode.*'r'"):
        Hdf5Features(tmp_path / "feats", mode="r")
    with pytest.raises(TypeError):
        ArkFeatures(tmp_path / "feats", overwrite=False)
