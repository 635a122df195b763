import os
import resource
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.audio.files import fingerprint, list_audio, list_recordings
from sdpn.audio.write import write_flac
from sdpn.cluster.pool import run_jobs
from sdpn.errors import SdpnError
from tests.corpus.conftest import write_audio


def names(folder) -> list[str]:
    return [file.name for file in list_audio(folder).files]


def test_audio_is_listed_at_any_depth_whatever_the_case_of_its_extension(tmp_path):
    for name in ("b/2.WAV", "b/1.flac", "a/x/y/3.opus", "0.wav"):
        write_audio(tmp_path / name)
    assert names(tmp_path) == ["0.wav", "a/x/y/3.opus", "b/1.flac", "b/2.WAV"]


def test_hidden_files_are_passed_over_and_others_counted(tmp_path):
    write_audio(tmp_path / "a" / "._1.wav")
    write_audio(tmp_path / ".cache" / "1.wav")
    (tmp_path / "a" / "1.txt").write_text("words")
    (tmp_path / "a" / "README").write_text("words")
    listing = list_audio(tmp_path)
    assert listing.files == []
    assert listing.others == {".txt": 1, "none": 1}


def test_links_are_followed_but_not_in_circles(tmp_path):
    write_audio(tmp_path / "real" / "1.wav")
    (tmp_path / "corpus" / "ann").mkdir(parents=True)
    (tmp_path / "corpus" / "bob").symlink_to(tmp_path / "real")
    (tmp_path / "corpus" / "ann" / "up").symlink_to(tmp_path / "corpus")
    assert names(tmp_path / "corpus") == ["bob/1.wav"]


def test_a_dangling_link_and_a_name_that_is_not_utf_8_are_listed_with_their_reasons(tmp_path):
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    with open(os.fsencode(tmp_path) + b"/\xff.wav", "wb") as opened:
        opened.write(b"x")
    listing = list_audio(tmp_path)
    assert listing.files == []
    assert {reason.kind for _, reason in listing.skipped} == {"no such file or directory", "its name is not UTF-8"}
    assert all(path.encode() for path, _ in listing.skipped)


def test_a_missing_folder_is_a_sentence(tmp_path):
    with pytest.raises(SdpnError, match="there is no such folder"):
        list_audio(tmp_path / "none")


def test_names_are_in_composed_form(tmp_path):
    write_audio(tmp_path / "e\u0301" / "1.wav")
    assert names(tmp_path) == ["\u00e9/1.wav"]


def test_the_fingerprint_changes_with_the_files(tmp_path):
    path = write_audio(tmp_path / "a.wav")
    before = fingerprint(list_audio(tmp_path).files)
    assert fingerprint(list_audio(tmp_path).files) == before
    os.utime(path, ns=(0, 12345))
    assert fingerprint(list_audio(tmp_path).files) != before


def test_samples_come_back_to_16_bits(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, 5000)
    write_flac(tmp_path / "a.flac", samples, 16000)
    read, rate = soundfile.read(tmp_path / "a.flac")
    assert rate == 16000
    np.testing.assert_allclose(read, samples, atol=2 / 32768)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(SdpnError, match=r"cannot write .*a.flac: the file size limit"):
            write_flac(tmp_path / "a.flac", np.random.default_rng(0).uniform(-1, 1, 5000), 16000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_permission_is_listed_with_its_reason():
    """As another user where the tests run as root, whom nothing is forbidden."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_audio(folder / "open" / "1.wav")
        write_audio(folder / "closed" / "1.wav")
        (folder / "closed").chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            listing = list_audio(folder)
        finally:
            os.seteuid(user)
            (folder / "closed").chmod(0o755)
    assert [file.name for file in listing.files] == ["open/1.wav"]
    assert listing.skipped == [(str(folder / "closed"), ("permission denied", ""))]


def test_links_that_go_in_circles_in_every_way_end(tmp_path):
    write_audio(tmp_path / "a" / "b" / "1.wav")
    (tmp_path / "a" / "itself").symlink_to(tmp_path / "a" / "itself")
    (tmp_path / "a" / "itself.wav").symlink_to(tmp_path / "a" / "itself.wav")
    (tmp_path / "a" / "b" / "c").symlink_to(tmp_path / "d")
    (tmp_path / "d").symlink_to(tmp_path / "a")
    listing = list_audio(tmp_path)
    assert [file.name for file in listing.files] == ["a/b/1.wav"]
    assert [os.path.basename(path) for path, _ in listing.skipped] == ["itself.wav"]


@pytest.mark.parametrize("nj", [1, 3])
def test_a_listing_is_the_same_for_any_number_of_processes(tmp_path, nj):
    for folder in range(40):
        write_audio(tmp_path / f"{folder % 7}" / f"{folder}" / "x.wav", seconds=0.01)
    (tmp_path / "7").symlink_to(tmp_path / "3")  # whichever is come upon first, the real one counts
    listing = list_audio(tmp_path, partial(run_jobs, nj=nj))
    assert [file.name for file in listing.files] == sorted(f"{n % 7}/{n}/x.wav" for n in range(40))


def test_audio_is_found_whatever_it_is_called_and_what_is_none_is_counted(tmp_path, capsys):
    for name, kind in (("a.wv1", "NIST"), ("b.dat", "FLAC"), ("c", "OGG"), ("d.audio", "WAV"), ("e.mp2", "WAV")):
        soundfile.write(tmp_path / name, np.zeros(1600), 16000, format=kind)
    (tmp_path / "f.bin").write_bytes(b"\xff\xfb\x90\x00" * 9)  # two bytes are no proof of MPEG
    (tmp_path / "g.txt").write_text("RIFF")
    listing = list_recordings(tmp_path)
    assert [file.name for file in listing.files] == ["a.wv1", "b.dat", "c", "d.audio", "e.mp2"]
    assert listing.others == {".bin": 1, ".txt": 1}
    assert "2 other files are no audio" in capsys.readouterr().out


def test_of_two_forms_of_a_recording_one_is_taken_and_that_is_said(tmp_path, capsys):
    for name in ("s/1/x.wav", "s/1/x.flac", "s/1/y.wav", "s/2/x.wav", "s/1/z.v2.wav", "s/1/z.v3.wav"):
        write_audio(tmp_path / name)
    for name in ("s/1/x.m4a", "s/1/y.m4a", "s/2/w.m4a"):
        (tmp_path / name).write_bytes(b"any")
    listing = list_recordings(tmp_path)
    expected = ["s/1/x.flac", "s/1/y.wav", "s/1/z.v2.wav", "s/1/z.v3.wav", "s/2/w.m4a", "s/2/x.wav"]
    assert [file.name for file in listing.files] == expected
    said = capsys.readouterr().out
    assert "3 files are another form of a file beside them" in said and ".m4a, .wav" in said
