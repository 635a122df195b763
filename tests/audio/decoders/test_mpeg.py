"""Lengths and samples of MP3 files are those that ffmpeg decodes, which reads their tables and tags by itself."""

import struct
import subprocess

import numpy as np
import pytest
import soundfile

from sdpn.audio.decoders import mpeg
from sdpn.audio.headers import read_header
from sdpn.audio.read import read_blocks
from sdpn.audio.route import PLAIN, route_of
from tests.audio.conftest import half, speech_like
from tests.corpus.conftest import encode, needs_ffmpeg

pytestmark = needs_ffmpeg


def id3(picture: int = 0) -> bytes:
    """An ID3v2 tag, perhaps with a picture of that many bytes."""
    body = b"TIT2" + struct.pack(">IH", 6, 0) + b"\0title"
    if picture:
        image = b"\0image/jpeg\0\3\0" + np.random.default_rng(0).bytes(picture)
        body += b"APIC" + synchsafe(len(image)) + b"\0\0" + image
    return b"ID3\4\0\0" + synchsafe(len(body) + 64) + body + bytes(64)


def synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def ape() -> bytes:
    """An APE tag with a header and a footer."""
    item = struct.pack("<II", 4, 0) + b"Title\0abcd"
    ends = [
        b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, flags) + bytes(8)
        for flags in (0xA0 << 24, 0x80 << 24)
    ]
    return ends[0] + item + ends[1]


TAGS = {
    "plain": (b"", b""),
    "id3": (id3(), b""),
    "picture": (id3(300_000), b""),
    "ape": (b"", ape()),
    "id3v1": (b"", b"TAG" + bytes(125)),
}


def with_table_of_fraunhofers(frames: bytes) -> bytes:
    """The same frames behind one that holds a VBRI table."""
    streams = list(mpeg._streams(frames))
    for bits in range(1, 15):
        head = bytes([frames[0], frames[1] | 1, bits << 4 | frames[2] & 0x0C, frames[3]])
        table = b"VBRI" + struct.pack(">HHHIIHHHH", 1, 0, 50, len(frames), streams[0].count, 1, 1, 2, 1)
        if mpeg.parse_frame(head).length >= 36 + len(table):
            return (head.ljust(36, b"\0") + table).ljust(mpeg.parse_frame(head).length, b"\0") + frames
    raise AssertionError


def write_mp3(folder, table: str, tag: str, rate: int, channels: int, bits: str, samples: int = 0):
    """An MP3 file of ffmpeg's (LAME's); `bits` is a bit rate, or "vbr"."""
    wav = folder / "speech.wav"
    soundfile.write(wav, speech_like(samples or int(2.037 * rate), rate, channels), rate)
    options = ["-q:a", "5"] if bits == "vbr" else ["-b:a", bits]
    options += ["-id3v2_version", "0"] + ([] if table == "lame" else ["-write_xing", "0"])
    path = encode(wav, folder / f"{table}-{tag}.mp3", *options)
    before, behind = TAGS[tag]
    content = path.read_bytes()
    path.write_bytes(before + (with_table_of_fraunhofers(content) if table == "vbri" else content) + behind)
    return path


def of_ffmpeg(path, rate: int, channels: int) -> np.ndarray:
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        path,
        "-f",
        "f32le",
        "-c:a",
        "pcm_f32le",
        "-ar",
        rate,
        "-ac",
        channels,
        "-",
    ]
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return np.frombuffer(done.stdout, dtype="<f4").reshape(-1, channels)


def read(path) -> np.ndarray:
    return np.concatenate(list(read_blocks(path)))


@pytest.mark.parametrize("table", ["lame", "none", "vbri"])
@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(
    ("rate", "channels", "bits"),
    [(8000, 1, "vbr"), (16000, 1, "24k"), (22050, 2, "vbr"), (44100, 2, "128k"), (48000, 1, "48k")],
)
def test_an_mp3_has_the_samples_that_ffmpeg_decodes(tmp_path, table, tag, rate, channels, bits):
    path = write_mp3(tmp_path, table, tag, rate, channels, bits)
    expected = of_ffmpeg(path, rate, channels)
    assert read_header(path) == (rate, len(expected), channels)
    np.testing.assert_allclose(read(path), expected, atol=1e-3)
    if table == "lame":
        assert len(expected) == soundfile.info(tmp_path / "speech.wav").frames


def test_any_part_of_an_mp3_is_that_of_the_whole(tmp_path):
    path = write_mp3(tmp_path, "none", "picture", 16000, 1, "vbr")
    whole = read(path)
    for first, last in ((0, 1000), (5000, 20000), (31000, len(whole))):
        part = np.concatenate(list(read_blocks(path, first=first, last=last)))
        np.testing.assert_allclose(part, whole[first:last], atol=1e-3)


@pytest.mark.parametrize(("one", "other"), [("lame", "lame"), ("lame", "none"), ("none", "vbri"), ("vbri", "lame")])
def test_all_of_what_is_joined_in_an_mp3_is_read(tmp_path, one, other):
    first, second = (write_mp3(tmp_path, table, "id3", 16000, 1, "32k") for table in (one, other))
    alone = np.concatenate([read(first), read(second)])
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    assert read_header(joined) == (16000, len(alone), 1)
    np.testing.assert_allclose(read(joined), alone, atol=1e-3)


def test_mp3s_of_two_rates_in_one_file_are_refused(tmp_path):
    parts = [write_mp3(tmp_path, "lame", "id3", rate, 1, "32k").read_bytes() for rate in (16000, 22050)]
    (tmp_path / "joined.mp3").write_bytes(b"".join(parts))
    assert read_header(tmp_path / "joined.mp3").kind == "several recordings are joined in one file"


@pytest.mark.parametrize("table", ["lame", "none", "vbri"])
def test_half_an_mp3_is_cut_off(tmp_path, table):
    assert read_header(half(write_mp3(tmp_path, table, "id3", 44100, 2, "vbr"))).kind == "cut off"


def test_damage_between_frames_loses_no_frame_behind_it(tmp_path):
    path = write_mp3(tmp_path, "none", "plain", 16000, 1, "32k")
    whole, content = read_header(path).num_samples, path.read_bytes()
    path.write_bytes(content[: 20 * 144] + bytes(range(1, 200)) + content[20 * 144 :])
    assert read_header(path).num_samples == whole == len(read(path))


def test_an_ordinary_mp3_is_libsndfiles_as_it_is(tmp_path):
    assert route_of(write_mp3(tmp_path, "lame", "picture", 16000, 1, "32k")) == PLAIN


def test_layer_ii_is_as_long_as_what_ffmpeg_decodes(tmp_path):
    soundfile.write(tmp_path / "a.wav", speech_like(50123, 44100), 44100)
    path = encode(tmp_path / "a.wav", tmp_path / "a.mp2", "-b:a", "96k")
    expected = of_ffmpeg(path, 44100, 1)
    assert read_header(path) == (44100, len(expected), 1)
    assert len(read(path)) == len(expected)
