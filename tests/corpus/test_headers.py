from functools import partial

import pytest
import soundfile

from sdpn.cluster.pool import run_jobs
from sdpn.corpus import headers
from sdpn.corpus.audio_files import list_audio
from sdpn.corpus.headers import probe, read_header
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
    assert read_header(tmp_path / "empty.flac") == "the file is empty"
    assert read_header(tmp_path / "text.wav").startswith("not readable as audio")
    assert read_header(tmp_path / "silent.wav") == "there are no samples in it"
    assert read_header(tmp_path / "folder.wav") == "is a directory"
    assert read_header(tmp_path / "none.wav") == "no such file or directory"


@pytest.mark.parametrize("nj", [1, 2])
def test_headers_come_in_the_order_of_the_files(tmp_path, monkeypatch, nj):
    monkeypatch.setattr(headers, "_FILES_PER_JOB", 2)
    for number in range(5):
        write_audio(tmp_path / f"{number}.wav", seconds=0.1 * (number + 1))
    found = probe(list_audio(tmp_path).files, partial(run_jobs, nj=nj), "headers")
    assert [header.num_samples for header in found] == [1600, 3200, 4800, 6400, 8000]
