import os
from functools import partial

import numpy as np
import pytest
import soundfile

from sdpn.audio import headers
from sdpn.audio.files import list_audio, serially
from sdpn.audio.headers import probe, read_header
from sdpn.cluster.pool import run_jobs
from tests.corpus.conftest import write_audio


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.opus", "a.mp3", "a.aiff"])
def test_a_header_tells_rate_length_and_channels(tmp_path, name):
    path = write_audio(tmp_path / name, seconds=1, channels=2)
    assert read_header(path) == (16000, soundfile.info(path).frames, 2)


def test_unusable_files_have_a_reason(tmp_path):
    (tmp_path / "empty.flac").touch()
    (tmp_path / "text.wav").write_text("this is no audio at all, only words")
    soundfile.write(tmp_path / "silent.wav", [], 16000)
    (tmp_path / "folder.wav").mkdir()
    assert read_header(tmp_path / "empty.flac") == ("the file is empty", "")
    assert read_header(tmp_path / "text.wav").kind == "not readable as audio"
    assert read_header(tmp_path / "silent.wav") == ("there are no samples in it", "")
    assert read_header(tmp_path / "folder.wav") == ("is a directory", "")
    os.mkfifo(tmp_path / "pipe.wav")  # which nobody writes into
    assert read_header(tmp_path / "pipe.wav") == ("not a regular file", "")
    (tmp_path / "samples.raw").write_bytes(bytes(32000))
    assert read_header(tmp_path / "samples.raw") == ("not readable as audio", "samples without a header")
    soundfile.write(os.fsencode(tmp_path / os.fsdecode(b"\xff.wav")), np.ones(9), 16000)
    assert read_header(tmp_path / os.fsdecode(b"\xff.wav")) == ("its name is not UTF-8", "")
    assert read_header(tmp_path / "none.wav") == ("no such file or directory", "")


@pytest.mark.parametrize("nj", [1, 2])
def test_headers_come_in_the_order_of_the_files(tmp_path, monkeypatch, nj):
    monkeypatch.setattr(headers, "_FILES_PER_JOB", 2)
    for number in range(5):
        write_audio(tmp_path / f"{number}.wav", seconds=0.1 * (number + 1))
    found = probe(list_audio(tmp_path).files, partial(run_jobs, nj=nj), "headers")
    assert [header.num_samples for header in found] == [1600, 3200, 4800, 6400, 8000]


def wav_header(path, claimed: int) -> None:
    """Have the header of a WAV file claim another number of bytes of sound."""
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = claimed.to_bytes(4, "little")
    path.write_bytes(content)


def test_a_wav_that_is_cut_off_says_how_much_of_it_is_there(tmp_path):
    path = write_audio(tmp_path / "a.wav", seconds=2)
    path.write_bytes(path.read_bytes()[: 44 + 16000])
    assert soundfile.info(path).frames == 8000  # libsndfile takes what is there for all
    assert read_header(path) == ("cut off", "its header says 2.00 s, 0.50 s are there")
    path.write_bytes(path.read_bytes()[:44])
    assert read_header(path) == ("cut off", "its header says 2.00 s, 0.00 s are there")
    path.write_bytes(path.read_bytes()[:36])
    assert read_header(path) == ("cut off", "its header tells of 44 bytes, 36 are there")


def test_a_wav_whose_header_claims_more_than_there_is_has_a_reason(tmp_path):
    path = write_audio(tmp_path / "a.wav", seconds=1)
    wav_header(path, 320000)
    assert read_header(path) == ("cut off", "its header says 10.00 s, 1.00 s are there")


@pytest.mark.parametrize("claimed", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_from_a_pipe_is_as_long_as_the_file(tmp_path, claimed):
    path = write_audio(tmp_path / "a.wav", seconds=1)
    wav_header(path, claimed)
    assert read_header(path) == (16000, 16000, 1)


def test_a_wav_whose_header_claims_less_is_as_long_as_it_says(tmp_path):
    path = write_audio(tmp_path / "a.wav", seconds=1)
    wav_header(path, 16000)
    assert read_header(path) == (16000, 8000, 1)


@pytest.mark.parametrize(("name", "kind"), [("flac.wav", "FLAC"), ("wav.flac", "WAV"), ("ogg.mp3", "OGG")])
def test_a_wrong_extension_does_no_harm(tmp_path, name, kind):
    soundfile.write(tmp_path / name, np.zeros(1600), 16000, format=kind)
    assert read_header(tmp_path / name) == (16000, 1600, 1)


def count_headers(monkeypatch) -> list:
    read, real = [], headers.read_header
    monkeypatch.setattr(headers, "read_header", lambda path: read.append(path) or real(path))
    return read


def test_headers_are_read_once_and_again_where_a_file_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(headers, "_FILES_PER_JOB", 2)
    for folder in "abcdefgh":
        write_audio(tmp_path / "tree" / folder / "1.wav", seconds=0.1)
    read, cache = count_headers(monkeypatch), tmp_path / "cache"
    first = probe(list_audio(tmp_path / "tree").files, serially, "headers", cache)
    assert len(read) == 8
    assert probe(list_audio(tmp_path / "tree").files, serially, "headers", cache) == first
    assert len(read) == 8
    write_audio(tmp_path / "tree" / "a" / "1.wav", seconds=0.2)
    again = probe(list_audio(tmp_path / "tree").files, serially, "headers", cache)
    assert again == [(16000, 3200, 1), *first[1:]]
    assert 8 < len(read) < 16


def test_a_scan_that_was_killed_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(headers, "_FILES_PER_JOB", 1)
    for folder in "abcdefgh":
        write_audio(tmp_path / "tree" / folder / "1.wav", seconds=0.1)
    files, cache = list_audio(tmp_path / "tree").files, tmp_path / "cache"

    def killed(function, jobs):
        for number, job in enumerate(jobs):
            if number == 2:
                raise KeyboardInterrupt
            yield function(*job)

    with pytest.raises(KeyboardInterrupt):
        probe(files, killed, "headers", cache)
    read = count_headers(monkeypatch)
    assert probe(files, serially, "headers", cache) == [(16000, 1600, 1)] * 8
    assert 0 < len(read) < 8


def test_a_damaged_cache_is_made_again(tmp_path):
    write_audio(tmp_path / "tree" / "1.wav", seconds=0.1)
    files, cache = list_audio(tmp_path / "tree").files, tmp_path / "cache"
    probe(files, serially, "headers", cache)
    for kept in cache.iterdir():
        kept.write_text('{"files"')
    assert probe(files, serially, "headers", cache) == [(16000, 1600, 1)]


def test_an_impossible_sampling_rate_is_a_reason(tmp_path):
    path = write_audio(tmp_path / "a.wav", seconds=1)
    content = bytearray(path.read_bytes())
    content[24:32] = (1).to_bytes(4, "little") + (2).to_bytes(4, "little")
    path.write_bytes(content)
    assert read_header(path) == ("the header gives an impossible sampling rate", "1 Hz")


def test_a_header_that_promises_weeks_is_a_reason(tmp_path):
    path = write_audio(tmp_path / "a.flac", seconds=1)
    content = bytearray(path.read_bytes())
    content[22:26] = b"\xff\xff\xff\xff"  # the lower bits of STREAMINFO's number of samples
    path.write_bytes(content)
    assert soundfile.info(path).frames > 2**31
    assert str(read_header(path)).startswith("the header gives an impossible length: 268435 s in ")
