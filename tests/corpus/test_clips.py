"""MUSAN and RIRS_NOISES in the layout of their archives."""

import shutil

import pytest

from sdpn.audio.files import serially
from sdpn.corpus.clips import find_clips, make_clips
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from tests.corpus.conftest import rows, write_audio, write_speakers


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    root = tmp_path_factory.mktemp("archives")
    for name in ("noise/free-sound/noise-free-sound-0000", "noise/sound-bible/noise-sound-bible-0000"):
        write_audio(root / "musan" / f"{name}.wav", 0.3)
    for name in ("music/fma/music-fma-0000", "music/jamendo/music-jamendo-0000", "speech/us-gov/speech-us-gov-0000"):
        write_audio(root / "musan" / f"{name}.wav", 2.0)
    (root / "musan" / "music" / "fma" / "ANNOTATIONS").write_text("music-fma-0000 rock Y Somebody\n")
    (root / "musan" / "music" / "jamendo" / "ANNOTATIONS").write_text("music-jamendo-0000 pop N Somebody\n")
    rirs = root / "RIRS_NOISES"
    for size in ("small", "medium", "large"):  # equal names in every one of them
        for number in (1, 2):
            write_audio(rirs / "simulated_rirs" / f"{size}room" / "Room001" / f"Room001-0000{number}.wav", 0.2)
    real = rirs / "real_rirs_isotropic_noises"
    write_audio(real / "RVB2014_type1_rir_largeroom1_far_angla.wav", 0.2, channels=4)
    write_audio(real / "air_type1_air_binaural_lecture_0_1.wav", 0.2, channels=2)
    write_audio(real / "RVB2014_type1_noise_largeroom1_1.wav", 0.2)
    write_audio(rirs / "pointsource_noises" / "noise-free-sound-0000.wav", 0.3)
    return root


def find(archives, **options):
    return find_clips({name: str(archives / folder) for name, folder in options.items()}, serially)


def clips_of(sources, tmp_path) -> dict[str, set[str]]:
    entries, _, _ = make_clips(sources, tmp_path, 1, serially, tmp_path / "headers")
    return {kind: {entry.id for entry in own} for kind, own in entries.items()}


def test_musan_gives_noise_music_and_talkers(archives, tmp_path):
    found = clips_of(find(archives, musan="musan"), tmp_path)
    assert found["noise"] == {"musan-free-sound-noise-free-sound-0000", "musan-sound-bible-noise-sound-bible-0000"}
    assert found["music"] == {"musan-fma-music-fma-0000", "musan-jamendo-music-jamendo-0000"}
    assert found["talkers"] == {"musan-us-gov-speech-us-gov-0000"}
    assert len(found["rir"]) == 2  # synthetic ones


def test_musan_is_the_same_to_lhotses_recipe(archives, tmp_path):
    from lhotse.recipes.musan import prepare_musan

    theirs = prepare_musan(archives / "musan")
    entries, _, _ = make_clips(find(archives, musan="musan"), tmp_path, 1, serially, tmp_path / "headers")
    for kind, part in (("noise", "noise"), ("music", "music"), ("talkers", "speech")):
        expected = {(r.sources[0].source, r.num_samples, r.sampling_rate) for r in theirs[part]["recordings"]}
        assert {(entry.source, entry.length, entry.sampling_rate) for entry in entries[kind]} == expected


def test_rirs_noises_gives_small_medium_and_real_rooms_and_point_sources(archives, tmp_path):
    found = clips_of(find(archives, rirs="RIRS_NOISES"), tmp_path)
    assert found["rir"] == {
        *(f"rirs-{size}room-Room001-Room001-0000{number}" for size in ("small", "medium") for number in (1, 2)),
        "rirs-real-RVB2014_type1_rir_largeroom1_far_angla",
        "rirs-real-air_type1_air_binaural_lecture_0_1",
    }
    assert found["noise"] == {"rirs-noise-free-sound-0000"}


def test_simulated_rooms_and_point_sources_are_those_of_lhotses_recipe(archives, tmp_path):
    from lhotse.recipes.rir_noise import prepare_rir_noise

    theirs = prepare_rir_noise(archives / "RIRS_NOISES", parts=("point_noise", "sim_rir"))
    entries, _, _ = make_clips(find(archives, rirs="RIRS_NOISES"), tmp_path, 1, serially, tmp_path / "headers")
    simulated = {r.sources[0].source for r in theirs["sim_rir"]["recordings"] if not r.id.startswith("large")}
    assert {entry.source for entry in entries["rir"] if "simulated" in entry.source} == simulated
    assert {entry.source for entry in entries["noise"]} == {
        r.sources[0].source for r in theirs["point_noise"]["recordings"]
    }


def test_the_archives_own_list_says_which_are_rooms(archives, tmp_path):
    root = shutil.copytree(archives / "RIRS_NOISES", tmp_path / "RIRS_NOISES")
    listed = "RIRS_NOISES/real_rirs_isotropic_noises/air_type1_air_binaural_lecture_0_1.wav"
    (root / "real_rirs_isotropic_noises" / "rir_list").write_text(f"--rir-id 00001 --room-id 001 {listed}\r\n")
    real = [source for source in find(tmp_path, rirs="RIRS_NOISES") if source.prefix == "rirs-real-"]
    assert [file.name for file in real[0].listing.files] == ["air_type1_air_binaural_lecture_0_1.wav"]


def test_copies_of_musans_noises_are_left_out_where_musan_is_given(archives, tmp_path, capsys):
    found = clips_of(find(archives, musan="musan", rirs="RIRS_NOISES"), tmp_path)
    assert not any(id.startswith("rirs") for id in found["noise"])
    assert "the point-source noises of RIRS_NOISES are left out" in capsys.readouterr().out


def test_the_folder_that_holds_the_archives_folder_serves(archives):
    assert find(archives, musan=".")[0].listing.folder == archives / "musan" / "noise"
    with pytest.raises(SdpnError, match=r"is not MUSAN as its archive unpacks: it has no folder noise, music, speech"):
        find(archives, musan="RIRS_NOISES")
    with pytest.raises(SdpnError, match=r"is not RIRS_NOISES as its archive unpacks: it has no folder simulated_rirs"):
        find(archives, rirs="musan")


def test_rooms_and_noises_go_through_stage_1_with_a_name_for_every_piece(
    archives, prepare_folder, make_cuts, tmp_path, capsys
):
    write_speakers(tmp_path / "corpus", [f"p{n}" for n in range(6)])
    folders = ["--musan", archives / "musan", "--rirs", archives / "RIRS_NOISES"]
    prepare_folder("--corpus-dir", tmp_path / "corpus", *folders, tmp_path / "data")
    held = Corpus.read(tmp_path / "data")
    assert (held.noises, held.rir, held.talkers) == ({"noise": "noise", "music": "music"}, "rir", "talkers")
    assert "synthetic" not in capsys.readouterr().out
    make_cuts("--max-duration", 1.2, "--min-duration", 0.5, tmp_path / "data")
    rooms = [cut["id"] for cut in rows(tmp_path / "data" / "rir" / "cuts.jsonl.gz")]
    assert len(set(rooms)) == len(rooms) == 4 + 4 + 2  # four channels of the one real room, two of the other
    talkers = [cut["id"] for cut in rows(tmp_path / "data" / "talkers" / "cuts.jsonl.gz")]
    assert talkers == ["musan-us-gov-speech-us-gov-0000-w1", "musan-us-gov-speech-us-gov-0000-w2"]


def test_a_broken_clip_is_skipped_and_listed(archives, prepare_folder, tmp_path):
    root = shutil.copytree(archives / "musan", tmp_path / "musan")
    (root / "noise" / "free-sound" / "broken.wav").write_text("no sound")
    write_speakers(tmp_path / "corpus", [f"p{n}" for n in range(6)])
    words = ["--corpus-dir", tmp_path / "corpus", "--musan", root, tmp_path / "data"]
    with pytest.raises(SdpnError, match=r"noise: 1 of 3 \(33.3 %\) would be skipped"):
        prepare_folder(*words)
    prepare_folder(*words, "--max-skipped", 0.4)
    listed = (tmp_path / "data" / "noise" / "skipped_files.tsv").read_text()
    assert listed.startswith(f"{root}/noise/free-sound/broken.wav\tnot readable as audio\t")
