"""Sound whose header tells no length, as programs write it into pipes and recorders leave it when they crash."""

import struct

import numpy as np
import pytest
import soundfile

from sdpn.audio import pipes
from sdpn.audio.headers import read_header
from sdpn.audio.read import measure, read_blocks
from tests.audio.conftest import needs_sox, program
from tests.corpus.conftest import encode, needs_ffmpeg


def read(path, **part) -> np.ndarray:
    return np.concatenate(list(read_blocks(path, **part)))


@needs_ffmpeg
@pytest.mark.parametrize(
    "form",
    ["wav", "wav -rf64 always", "flac", "au", "w64", "aiff", "caf", "mp3", "ogg", "opus", "adts", "webm", "matroska"],
)
def test_what_ffmpeg_writes_into_a_pipe_is_as_long_as_what_is_decoded(sound, tmp_path, form):
    source = sound("speech.wav")
    path = program("ffmpeg", "-v", "error", "-i", source, "-f", *form.split(), "-", output=tmp_path / "piped")
    header, samples = read_header(path), read(path)
    assert header.num_samples == len(samples)
    assert abs(len(samples) / header.sampling_rate - 50123 / 16000) < 0.15
    if form.split()[0] in ("wav", "flac", "au", "w64", "aiff", "caf"):
        np.testing.assert_array_equal(samples[:, 0], soundfile.read(source, dtype="float32")[0])
        np.testing.assert_array_equal(read(path, first=30000, last=40000), samples[30000:40000])


@needs_sox
@pytest.mark.parametrize("form", ["wav", "flac", "au", "sph"])
def test_what_sox_writes_into_a_pipe_likewise(sound, tmp_path, form):
    source = sound("speech.wav")
    path = program("sox", source, "-t", form, "-", output=tmp_path / "piped")
    assert read_header(path) == (16000, 50123, 1)
    np.testing.assert_array_equal(read(path)[:, 0], soundfile.read(source, dtype="float32")[0])


@pytest.mark.parametrize("riff", [0, 36])
@pytest.mark.parametrize("form", ["PCM_16", "FLOAT"])
def test_a_wav_of_a_recorder_that_crashed_is_as_long_as_the_file(sound, form, riff):
    path = sound("a.wav", subtype=form)
    expected = soundfile.read(path, dtype="float32")[0]
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[4:8], content[at : at + 4] = struct.pack("<I", riff), bytes(4)
    path.write_bytes(content[: at + 4 + 2 * 50123 * (1 if form == "PCM_16" else 2)])
    assert read_header(path) == (16000, 50123, 1)
    np.testing.assert_array_equal(read(path)[:, 0], expected)


def test_a_wav_that_holds_but_text_has_no_samples(sound):
    path = sound("a.wav", samples=0)
    path.write_bytes(path.read_bytes() + b"LIST\4\0\0\0INFO")
    assert read_header(path).kind == "there are no samples in it"


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"), [("a.spx", []), ("a.oga", ["-c:a", "flac"]), ("a.wav", ["-c:a", "libmp3lame"])]
)
def test_what_libsndfile_refuses_or_guesses_goes_to_ffmpeg_whatever_its_first_bytes_are(sound, tmp_path, name, options):
    path = encode(sound("speech.wav"), tmp_path / name, *options)
    header = read_header(path)
    assert header.num_samples == len(read(path))
    assert abs(header.num_samples - 50123) < 2 * 1152


@needs_ffmpeg
@pytest.mark.parametrize("form", ["flac", "webm", "mp3", "wav -rf64 always", "opus"])
def test_commands_may_write_any_of_it(sound, monkeypatch, form):
    monkeypatch.setattr(pipes, "refuse_unless_allowed", lambda command: None)
    command = f"ffmpeg -v error -i {sound('speech.wav')} -f {form} -"
    header = measure(command, is_command=True)
    blocks = list(read_blocks(command, is_command=True, rate=header.sampling_rate))
    assert abs(header.num_samples / header.sampling_rate - 50123 / 16000) < 0.15
    assert sum(map(len, blocks)) == header.num_samples


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.ogg", {}),
        ("a.opus", {"format": "OGG"}),
        ("a.mp3", {}),
        ("a.wav", {"subtype": "GSM610"}),
        ("b.wav", {"subtype": "IMA_ADPCM"}),
    ],
)
def test_any_part_has_the_samples_of_the_whole(sound, name, form):
    """In Vorbis and MP3 libsndfile gives others where it is sent there, in GSM none."""
    path = sound(name, **({"subtype": "OPUS"} if name == "a.opus" else {}), **form)
    whole = read(path)
    for first, last in ((30000, 32000), (32000, 48000), (1000, 3000), (49000, 50123)):
        part = read(path, first=first, last=last, length=len(whole))
        np.testing.assert_allclose(part, whole[first:last], atol=1e-4)


@needs_ffmpeg
def test_a_playlist_in_the_place_of_audio_opens_no_other_file(sound, tmp_path):
    (tmp_path / "list.wav").write_text(f"ffconcat version 1.0\nfile {sound('speech.wav')}\n")
    assert read_header(tmp_path / "list.wav").kind in ("not readable as audio", "ffmpeg cannot decode it")
