"""Lengths are compared with those that were encoded and with what ffprobe says, samples with what was encoded."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from sdpn.audio.decoders import ffmpeg, mp4
from sdpn.audio.decoders.ffmpeg import decode, read_header
from sdpn.audio.files import list_audio, refuse_without_ffmpeg
from sdpn.audio.headers import Header
from sdpn.audio.headers import read_header as header_or_reason
from sdpn.audio.read import read_blocks
from sdpn.errors import Reason, SdpnError, UnusableError
from tests.corpus.conftest import encode, needs_ffmpeg
from tests.recipe.voices import voice

pytestmark = needs_ffmpeg


@pytest.fixture(params=["library", "program"], autouse=True)
def by(request, monkeypatch):
    """Every test by PyAV where it is installed, and by the program."""
    if request.param == "program":
        monkeypatch.setattr(ffmpeg, "library", lambda: None)
    elif ffmpeg.library() is None:
        pytest.skip("PyAV is not installed")
    return request.param


def without_ffmpeg(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(ffmpeg, "library", lambda: None)


@pytest.fixture
def wav(tmp_path):
    """speech(samples, channels) as a WAV file."""

    def write(samples: int, channels: int = 1, rate: int = 16000):
        path = tmp_path / "speech.wav"
        sound = np.stack([voice(channel, 0, samples / rate + 0.01, rate)[:samples] for channel in range(channels)], 1)
        soundfile.write(path, sound, rate)
        return path

    return write


def decoded(path) -> np.ndarray:
    return np.concatenate([block for _, block in decode(path)])


def ffprobe(path) -> tuple[int, int, int]:
    entries = "stream=sample_rate,duration_ts,time_base,channels"
    command = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "a:0",
        "-show_entries",
        entries,
        "-of",
        "default=nw=1",
        path,
    ]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    facts = dict(line.split("=") for line in lines)
    rate, ticks = int(facts["sample_rate"]), int(facts["time_base"].split("/")[1])
    return rate, int(facts["duration_ts"]) * rate // ticks, int(facts["channels"])


@pytest.mark.parametrize("samples", [1024, 5000, 16000, 16001, 31234])
def test_an_m4a_is_as_long_as_what_was_encoded_and_decodes_to_as_many_samples(wav, tmp_path, samples):
    path = encode(wav(samples), tmp_path / "a.m4a")
    assert read_header(path) == (16000, samples, 1)
    assert decoded(path).shape == (samples, 1)
    rate, length, channels = ffprobe(path)
    assert (rate, channels) == (16000, 1)
    assert abs(length - samples) <= 16  # ffprobe takes the edit list's milliseconds for all of it


def test_what_is_decoded_lies_where_it_lay(wav, tmp_path):
    source = wav(16000)
    path = encode(source, tmp_path / "a.m4a", "-b:a", "96k")
    expected, found = soundfile.read(source, dtype="float32")[0], decoded(path)[:, 0]
    lags = np.correlate(found[2000:14000], expected[1900:14100], "valid")
    assert np.argmax(lags) == 100
    assert np.corrcoef(found, expected)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("name", "options", "channels", "rate"),
    [
        ("stereo.m4a", [], 2, 16000),
        ("six.mp4", ["-ac", "6"], 6, 16000),
        ("cd.m4a", ["-ar", "44100"], 1, 44100),
        ("quicktime.mov", ["-c:a", "aac"], 1, 16000),
        ("lossless.m4a", ["-c:a", "alac"], 1, 16000),
        ("no-list.m4a", ["-use_editlist", "0"], 1, 16000),
        ("table-first.m4a", ["-movflags", "+faststart"], 1, 16000),
        ("raw.aac", [], 1, 16000),
        ("fragments.mp4", ["-movflags", "frag_keyframe+empty_moov"], 1, 16000),
        ("film.webm", ["-c:a", "libvorbis"], 1, 16000),
    ],
)
def test_headers_of_every_kind_agree_with_ffprobe_and_with_what_is_decoded(
    wav, tmp_path, name, options, channels, rate
):
    path = encode(wav(31234, 2 if name == "stereo.m4a" else 1), tmp_path / name, *options)
    found = read_header(path)
    assert (found[0], found[2]) == (rate, channels)
    if name.endswith((".aac", ".webm")) or name.startswith("fragments"):  # which ffprobe guesses, or rounds
        assert abs(found[1] - 31234) < 2048
    else:
        assert abs(found[1] - ffprobe(path)[1]) <= rate // 1000
    assert decoded(path).shape == (found[1], channels)
    assert isinstance(header_or_reason(path), Header)


def test_a_wav_and_an_m4a_with_each_others_names_are_read(wav, tmp_path):
    source = wav(16000)
    swapped = encode(source, tmp_path / "a.m4a").rename(tmp_path / "b.wav")
    renamed = shutil.copy(source, tmp_path / "c.m4a")
    assert header_or_reason(swapped) == (16000, 16000, 1)
    assert header_or_reason(renamed) == (16000, 16000, 1)
    for path in (swapped, renamed):
        blocks = list(read_blocks(path))
        assert sum(map(len, blocks)) == 16000


@pytest.mark.parametrize(
    ("options", "reason"), [([], "table of its samples"), (["-movflags", "+faststart"], "cut off")]
)
def test_a_cut_off_m4a_has_a_reason(wav, tmp_path, options, reason):
    path = encode(wav(31234), tmp_path / "a.m4a", *options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = header_or_reason(path)
    assert found.kind == "cut off"
    assert reason in str(found)
    with pytest.raises(UnusableError, match="cut off"):
        decoded(path)


def test_an_m4a_without_sound_and_one_of_noughts_have_a_reason(tmp_path):
    film = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=s=32x32:d=0.2", "-c:v", "mpeg4", tmp_path / "film.mp4"]
    subprocess.run(film, check=True)
    assert header_or_reason(tmp_path / "film.mp4") == ("not readable as audio", "there is no audio in it")
    (tmp_path / "a.m4a").write_bytes(bytes(5000))
    assert header_or_reason(tmp_path / "a.m4a").kind == "not readable as audio"
    (tmp_path / "b.m4a").write_bytes(b"\0\0\0\x08ftyp\0\0\0\x10moov\0\0\0\x08trak")
    assert header_or_reason(tmp_path / "b.m4a") == ("damaged", "its table of samples")


def test_damage_within_the_sound_is_a_sentence(wav, tmp_path):
    path = encode(wav(160000), tmp_path / "a.m4a")
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    content[begin : begin + 15000] = bytes(15000)
    path.write_bytes(content)
    with pytest.raises(SdpnError, match=r"another length|cannot decode|cut off"):
        decoded(path)


def test_without_ffmpeg_stage_0_says_so_before_it_reads_a_header(wav, tmp_path, monkeypatch):
    folder = tmp_path / "corpus"
    folder.mkdir()
    encode(wav(16000), folder / "a.m4a")
    without_ffmpeg(monkeypatch)
    with pytest.raises(SdpnError, match=r"ffmpeg is not installed: it is needed for 1 file below .* \(e.g. a.m4a\)"):
        refuse_without_ffmpeg(list_audio(folder))
    with pytest.raises(SdpnError, match="ffmpeg is not installed"):
        decoded(folder / "a.m4a")


def test_a_size_that_no_memory_has_is_not_read(tmp_path):
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x08ftyp\0\0\0\x01moov\0\0\1\0\0\0\0\0")
    with open(path, "rb") as opened, pytest.raises(UnusableError, match="cut off"):
        mp4.read_track(opened, path.stat().st_size)


def test_names_that_look_like_options_or_addresses_are_files(wav, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = encode(wav(5000), tmp_path / "x.m4a").rename(tmp_path / "-i http:x.m4a")
    assert decoded(path.name).shape == (5000, 1)


def test_an_m4a_by_another_name_has_a_reason_where_there_is_no_ffmpeg(wav, tmp_path, monkeypatch):
    path = encode(wav(5000), tmp_path / "a.m4a").rename(tmp_path / "a.wav")
    without_ffmpeg(monkeypatch)
    assert header_or_reason(path).kind == "ffmpeg is not installed"


def test_damaged_files_of_any_kind_have_a_header_or_a_reason(wav, tmp_path):
    """Noughts, ones and random bytes anywhere in the boxes: no exception, no endless loop, no gigabytes."""
    source = wav(5000)
    kinds = ["-movflags +faststart x.m4a", "x.m4a", "x.aac", "x.flac", "x.wav"]
    rng = np.random.default_rng(1)
    for kind in kinds:
        *options, name = kind.split()
        whole = encode(source, tmp_path / name, *options).read_bytes()
        for number in range(60):
            content = bytearray(whole)
            for _ in range(int(rng.integers(1, 8))):
                place = int(rng.integers(0, min(len(content), 2000)))
                content[place : place + 4] = [bytes(4), b"\xff" * 4, rng.bytes(4)][number % 3]
            path = tmp_path / f"damaged{name}"
            path.write_bytes(content[: len(whole) if number % 4 else int(rng.integers(1, len(whole)))])
            found = header_or_reason(path)
            assert isinstance(found, Reason) or found.num_samples > 0


def test_a_track_that_no_decoder_knows_has_a_reason(wav, tmp_path):
    whole = encode(wav(5000), tmp_path / "a.webm").read_bytes()
    name = re.search(rb"A_[A-Z]+", whole)[0]
    (tmp_path / "b.webm").write_bytes(whole.replace(name, name.replace(b"_", b"N")))
    found = header_or_reason(tmp_path / "b.webm")  # ffprobe reads the length all the same
    assert isinstance(found, Header) or found.kind in ("not readable as audio", "ffmpeg cannot decode it")
    with pytest.raises(UnusableError):
        list(decode(tmp_path / "b.webm"))


def test_apples_note_on_the_encoders_delay_holds_where_there_is_no_edit_list(wav, tmp_path):
    source = wav(31234)
    path = encode(source, tmp_path / "a.m4a", "-use_editlist", "0", "-b:a", "96k")
    content = path.read_bytes()
    begin = content.rindex(b"moov") - 4  # the last box of the file
    moov = content[begin + 8 :]
    moov = moov[: moov.rindex(b"udta") - 4]
    note = f" 00000000 {1024:08X} {510:08X} {31234:016X}" + " 00000000" * 8
    item = box(b"mean", bytes(4) + b"com.apple.iTunes") + box(b"name", bytes(4) + b"iTunSMPB")
    item += box(b"data", b"\0\0\0\1\0\0\0\0" + note.encode())
    meta = bytes(4) + box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9)) + box(b"ilst", box(b"----", item))
    path.write_bytes(content[:begin] + box(b"moov", moov + box(b"udta", box(b"meta", meta))))
    assert read_header(path) == (16000, 31234, 1)
    found, expected = decoded(path)[:, 0], soundfile.read(source, dtype="float32")[0]
    assert len(found) == 31234
    assert np.corrcoef(found, expected)[0, 1] > 0.95


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content
