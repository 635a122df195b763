"""Half a file is no shorter recording: where the container tells the length or the end, it is cut off."""

import numpy as np
import pytest
import soundfile

from sdpn.audio.decoders import flac
from sdpn.audio.headers import Header, read_header
from sdpn.audio.read import read_blocks
from sdpn.errors import UnusableError
from sdpn.features.audio import load_samples
from sdpn.utterance import Utterance
from tests.audio.conftest import half, needs_sox, program, speech_like
from tests.corpus.conftest import encode, needs_ffmpeg

OF_LIBSNDFILE = {
    "pcm.wav": {},
    "float.wav": {"subtype": "FLOAT"},
    "ulaw.wav": {"subtype": "ULAW"},
    "adpcm.wav": {"subtype": "IMA_ADPCM"},
    "extensible.wav": {"format": "WAVEX"},
    "rifx.wav": {"endian": "BIG", "format": "WAV"},
    "a.rf64": {"format": "RF64"},
    "a.w64": {"format": "W64"},
    "a.aiff": {},
    "a.svx": {"format": "SVX"},
    "a.au": {},
    "ulaw.au": {"subtype": "ULAW"},
    "a.caf": {},
    "alac.caf": {"subtype": "ALAC_16"},
    "a.voc": {"format": "VOC"},
    "a.nist": {"format": "NIST"},
    "a.avr": {"format": "AVR"},
    "a.htk": {"format": "HTK"},
    "a.ogg": {},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.mp3": {},
}
OF_FFMPEG = ["a.m4a", "a.aac", "a.webm", "a.mka", "a.wma", "a.spx", "flac.oga", "a.opus", "a.ogg", "a.wv", "a.tta"]


@pytest.mark.parametrize("name", OF_LIBSNDFILE)
def test_half_of_what_libsndfile_writes_is_cut_off(sound, name):
    path = sound(name, **OF_LIBSNDFILE[name])
    whole = read_header(path)
    assert isinstance(whole, Header)
    assert 50123 <= whole.num_samples == sum(map(len, read_blocks(path))) < 52000
    assert read_header(half(path)).kind == "cut off"


def writable() -> list[tuple[str, str, str]]:
    """Format, subtype and byte order of all that libsndfile can write here, but for samples without a header."""
    found = []
    for form in sorted(soundfile.available_formats().keys() - {"RAW"}):
        for subtype in sorted(soundfile.available_subtypes(form)):
            orders = [order for order in ("FILE", "LITTLE", "BIG") if soundfile.check_format(form, subtype, order)]
            found += [(form, subtype, order) for order in orders]
    return found


TELLS_NO_LENGTH = {"IRCAM", "PAF", "PVF", "SD2", "XI"}
ONE_RATE = {"WVE": 8000, "XI": 44100}  # Hz


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("form", sorted({form for form, _, _ in writable()} - TELLS_NO_LENGTH))
def test_half_of_any_form_that_libsndfile_writes_is_noticed(tmp_path, form, channels):
    """At the latest when it is read, since FLAC tells its length in samples alone."""
    rate, tried = ONE_RATE.get(form, 16000), 0
    for _, subtype, order in (kind for kind in writable() if kind[0] == form):
        path = tmp_path / f"{subtype}-{order}.{form.lower()}"
        try:
            soundfile.write(path, speech_like(20011, rate, channels), rate, subtype, order, form)
        except soundfile.LibsndfileError:  # of another number of channels, or announced and not there
            continue
        if subtype.startswith("DWVW"):  # libsndfile does not read again what it wrote
            continue
        tried += 1
        whole = read_header(path)
        assert isinstance(whole, Header), (path.name, whole)
        assert sum(map(len, read_blocks(path))) == whole.num_samples >= 20011
        if form != "FLAC":
            assert read_header(half(path)).kind == "cut off", path.name
            continue
        with pytest.raises(UnusableError):
            list(read_blocks(half(path)))
    assert tried or channels == 2


@needs_ffmpeg
@pytest.mark.parametrize("name", OF_FFMPEG)
def test_half_of_what_ffmpeg_writes_is_cut_off(sound, tmp_path, name):
    options = ["-c:a", "flac"] if name.startswith("flac") else []
    path = encode(sound("speech.wav"), tmp_path / name, *options)
    whole = read_header(path)
    assert whole.num_samples == sum(map(len, read_blocks(path)))
    assert abs(whole.num_samples / whole.sampling_rate - 50123 / 16000) < 0.2
    assert read_header(half(path)).kind == "cut off"


@needs_sox
@pytest.mark.parametrize("name", ["a.sph", "a.voc", "a.aifc", "a.au", "a.w64", "a.avr"])
def test_half_of_what_sox_writes_is_cut_off(sound, tmp_path, name):
    program("sox", "-q", sound("speech.wav"), tmp_path / name)
    assert read_header(tmp_path / name) == (16000, 50123, 1)
    assert read_header(half(tmp_path / name)).kind == "cut off"


def test_half_a_flac_is_refused_when_it_is_read(sound):
    """Its header tells the length, and nothing but decoding where the sound ends."""
    path = half(sound("a.flac"))
    whole = Utterance(str(path), str(path), *read_header(path), channel=0)
    with pytest.raises(UnusableError) as refused:
        load_samples(whole)
    assert refused.value.reason.kind in ("cut off", "the audio cannot be read")


def test_a_stream_without_its_end_is_cut_off_also_where_the_last_page_is_whole(sound):
    path = sound("a.ogg", samples=500_000)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"OggS")])
    assert read_header(path) == ("cut off", "a stream in it has no end")


@pytest.mark.parametrize("form", [{"format": "OGG", "subtype": "OPUS"}, {"format": "OGG", "subtype": "VORBIS"}])
def test_all_streams_of_a_chained_ogg_are_read(sound, tmp_path, form):
    first, second = sound("1.ogg", 50123, **form), sound("2.ogg", 20001, **form)
    alone = np.concatenate([soundfile.read(path, dtype="float32", always_2d=True)[0] for path in (first, second)])
    chained = tmp_path / "chained.ogg"
    chained.write_bytes(first.read_bytes() + second.read_bytes())
    assert read_header(chained) == (16000, 70124, 1)
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(chained))), alone)
    part = np.concatenate(list(read_blocks(chained, first=50000, last=51000)))
    np.testing.assert_array_equal(part, alone[50000:51000])


def test_what_is_chained_of_several_rates_is_refused(sound, tmp_path):
    parts = [sound(f"{rate}.ogg", rate=rate).read_bytes() for rate in (16000, 8000)]
    (tmp_path / "chained.ogg").write_bytes(b"".join(parts))
    assert read_header(tmp_path / "chained.ogg").kind == "several recordings are joined in one file"


def test_two_wav_files_in_one_are_refused(sound, tmp_path):
    (tmp_path / "joined.wav").write_bytes(sound("a.wav").read_bytes() * 2)
    assert read_header(tmp_path / "joined.wav").kind == "several recordings are joined in one file"


@pytest.mark.parametrize(("subtype", "at_once"), [("PCM_16", 1 << 20), ("PCM_24", 1 << 20), ("PCM_16", 9)])
def test_two_flac_files_in_one_are_refused_when_they_are_read(sound, tmp_path, monkeypatch, subtype, at_once):
    """Of which libsndfile reads the first alone."""
    monkeypatch.setattr(flac, "_AT_ONCE", at_once)  # the second may begin anywhere in what is read in one piece
    monkeypatch.setenv("SDPN_ALLOW_PIPES", "1")
    one, other = sound("a.flac", subtype=subtype), sound("b.flac", 20001, subtype=subtype)
    joined = tmp_path / "joined.flac"
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    assert read_header(joined).num_samples == 50123
    for source, is_command in ((joined, False), (f"cat {one} {other}", True)):
        with pytest.raises(UnusableError) as refused:
            list(read_blocks(source, is_command))
        assert refused.value.reason.kind == "several recordings are joined in one file"
    assert sum(map(len, read_blocks(one))) == 50123


def test_of_two_flac_files_in_one_the_utterance_at_the_end_of_the_first_is_refused(sound, tmp_path):
    """What lies before it is right wherever the file goes on."""
    joined = tmp_path / "joined.flac"
    joined.write_bytes(sound("a.flac").read_bytes() * 2)
    part = Utterance(str(joined), str(joined), *read_header(joined), channel=0, recording="r", start=1.0, duration=1.0)
    assert len(load_samples(part)) == 16000
    with pytest.raises(UnusableError):
        load_samples(part.changed(duration=50123 / 16000 - 1.0))
