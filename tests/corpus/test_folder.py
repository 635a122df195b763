from functools import partial

import pytest

from sdpn.audio.files import list_audio
from sdpn.cluster.pool import run_jobs
from sdpn.corpus.folder import choose_speakers, hold_out, read_genders, scan, set_folders, understand
from sdpn.errors import SdpnError
from sdpn.utterance import Utterance
from tests.corpus.conftest import write_audio

HERE = partial(run_jobs, nj=1)


def scan_labelled(folder, genders=None):
    return scan(list_audio(folder), HERE, labelled=True, genders=genders)


def test_paths_tell_speaker_session_and_utterance(tmp_path):
    for name in ("ann/1.wav", "bob/monday/1.wav", "cyd/tuesday/room/take/1.wav"):
        write_audio(tmp_path / name)
    found = [(utterance.id, utterance.speaker, utterance.session) for utterance in scan_labelled(tmp_path).utterances]
    assert found == [
        ("ann-1", "ann", None),
        ("bob-monday-1", "bob", "bob-monday"),
        ("cyd-tuesday-room-take-1", "cyd", "cyd-tuesday"),
    ]


def test_white_space_becomes_underscores_and_other_letters_stay(tmp_path):
    write_audio(tmp_path / "Zoë  Ångström" / "erste Aufnahme" / "Satz\t1.wav")
    (utterance,) = scan_labelled(tmp_path).utterances
    assert utterance.id == "Zoë_Ångström-erste_Aufnahme-Satz_1"
    assert utterance.speaker == "Zoë_Ångström"


def test_equal_ids_are_told_apart_and_speakers_stay_apart(tmp_path):
    for name in ("a b/1.wav", "a_b/1.wav", "x/1.flac", "x/1.wav", "x-y/1.wav", "x/y/1.wav"):
        write_audio(tmp_path / name)
    utterances = scan_labelled(tmp_path).utterances
    assert [(utterance.id, utterance.speaker) for utterance in utterances] == [
        ("a_b-1", "a_b"),
        ("a_b~2-1", "a_b~2"),
        ("x-y-1", "x-y"),
        ("x-1", "x"),
        ("x-1~2", "x"),
        ("x-y-1~2", "x"),
    ]
    assert all(utterance.id.startswith(utterance.speaker) for utterance in utterances)


def test_trial_names_are_ids_and_paths_with_or_without_an_unambiguous_extension(tmp_path):
    for name in ("x/1.flac", "x/1.wav", "y/s/2.wav"):
        write_audio(tmp_path / name)
    assert scan_labelled(tmp_path).ids == {
        "x/1.flac": "x-1",
        "x/1.wav": "x-1~2",
        "x-1": "x-1",
        "x-1~2": "x-1~2",
        "y/s/2.wav": "y-s-2",
        "y/s/2": "y-s-2",
        "y-s-2": "y-s-2",
    }


def test_unusable_files_are_listed_with_their_reasons(tmp_path):
    good = write_audio(tmp_path / "ann" / "1.wav")
    (tmp_path / "ann" / "2.wav").write_text("words")
    (tmp_path / "ann" / "3.flac").touch()
    write_audio(tmp_path / "nobody.wav")
    found = scan_labelled(tmp_path)
    assert [utterance.source for utterance in found.utterances] == [str(good)]
    reasons = {path.rsplit("/", 1)[1]: reason for path, reason in found.skipped}
    assert reasons["nobody.wav"].kind == "it lies in no speaker's folder"
    assert reasons["3.flac"].kind == "the file is empty"
    assert reasons["2.wav"].kind == "not readable as audio"


def test_clips_are_named_by_their_paths(tmp_path):
    for name in ("door.wav", "street/bus stop.wav"):
        write_audio(tmp_path / name)
    assert [clip.id for clip in scan(list_audio(tmp_path), HERE).utterances] == [
        "door",
        "street-bus_stop",
    ]


def test_sets_are_train_and_every_eval_where_both_are_there(tmp_path):
    assert set_folders(tmp_path) == {"train": tmp_path}
    for name in ("train", "eval", "eval_far", "notes"):
        (tmp_path / name).mkdir()
    assert list(set_folders(tmp_path)) == ["train", "eval", "eval_far"]


def test_a_training_set_may_be_alone_and_an_evaluation_set_may_not(tmp_path):
    (tmp_path / "train").mkdir()
    assert set_folders(tmp_path) == {"train": tmp_path / "train"}
    (tmp_path / "train").rename(tmp_path / "eval")
    with pytest.raises(SdpnError, match="holds a folder eval but none named train"):
        set_folders(tmp_path)


def test_folders_beside_the_sets_are_told_of(tmp_path, capsys):
    for name in ("train", "2024", ".cache"):
        (tmp_path / name).mkdir()
    set_folders(tmp_path)
    assert "the other folders are not: 2024\n" in capsys.readouterr().out


def speakers_of(tmp_path, *names: str, labelled=None) -> tuple[list, str]:
    for name in names:
        write_audio(tmp_path / name)
    listing = list_audio(tmp_path)
    labelled, sentence = understand(listing, labelled)
    found = scan(listing, HERE, labelled=labelled).utterances
    return [(utterance.id, utterance.speaker) for utterance in found], sentence


LABELLED = ("ann/1.wav", "bob/monday/1.wav")


def test_a_tree_of_speakers_and_sessions_is_labelled(tmp_path):
    found, sentence = speakers_of(tmp_path, *LABELLED)
    assert found == [("ann-1", "ann"), ("bob-monday-1", "bob")]
    assert "2 folders directly below taken for speakers; --unlabelled" in sentence


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("1.wav", "2.flac"), "2 of 2 recordings lie directly in it"),
        ((*LABELLED, "1.wav"), "1 of 3 recordings lie directly in it"),
        (("2024/05/17/1.wav", "2024/06/01/1.wav", "2025/01/01/1.wav"), "more than two folders deep"),
        (("2024-05-17/1.wav", "2024-05-18/1.wav"), "2 folders directly below are called as dates are"),
        (("calls/1.wav", "calls/2.wav"), "in one folder, calls"),
        ((*LABELLED, "bob/monday/noon/1.wav"), "1 of 3 recordings lie more than two folders deep"),
    ],
)
def test_any_other_tree_has_no_labels(tmp_path, names, why):
    found, sentence = speakers_of(tmp_path, *names)
    assert why in sentence
    assert ("--labelled" in sentence) == any("/" in name for name in names)
    assert [speaker for _, speaker in found] == [None] * len(names)
    assert {id for id, _ in found} == {name.rsplit(".", 1)[0].replace("/", "-") for name in names}


def test_what_the_user_says_counts_more_than_how_a_tree_looks(tmp_path):
    assert speakers_of(tmp_path, *LABELLED, labelled=False)[0] == [("ann-1", None), ("bob-monday-1", None)]
    write_audio(tmp_path / "1.wav")
    assert speakers_of(tmp_path, labelled=True)[0] == [("ann-1", "ann"), ("bob-monday-1", "bob")]
    with pytest.raises(SdpnError, match="all recordings lie directly in it"):
        understand(list_audio(write_audio(tmp_path / "flat" / "1.wav").parent), True)


def test_a_speaker_whose_name_begins_like_a_set_is_a_speaker(tmp_path):
    for name in ("evalyn", "bob"):
        (tmp_path / name).mkdir()
    assert set_folders(tmp_path) == {"train": tmp_path}
    (tmp_path / "train").mkdir()
    assert list(set_folders(tmp_path)) == ["train", "evalyn"]


def test_genders_are_read_in_kaldis_form(tmp_path):
    assert read_genders(tmp_path / "spk2gender") == {}
    (tmp_path / "spk2gender").write_text("ann f\nbob M\nCyd Ray female\n\n")
    genders = read_genders(tmp_path / "spk2gender")
    assert genders == {"ann": "f", "bob": "m", "Cyd Ray": "f"}
    write_audio(tmp_path / "Cyd Ray" / "1.wav")
    assert [utterance.gender for utterance in scan_labelled(tmp_path, genders).utterances] == ["f"]


def test_a_gender_of_another_form_is_a_sentence(tmp_path):
    (tmp_path / "spk2gender").write_text("ann f\nbob x\n")
    with pytest.raises(SdpnError, match="line 2: expected `speaker m`"):
        read_genders(tmp_path / "spk2gender")


def many(speakers: int, sessions: int = 2) -> list[Utterance]:
    return [
        Utterance(f"p{p}-{s}", "", 1, 1, speaker=f"p{p}", session=str(s))
        for p in range(speakers)
        for s in range(sessions)
    ]


def test_whole_speakers_are_held_out_the_same_for_the_same_seed():
    own = many(10)
    chosen = choose_speakers(own, 3, 1, "here")
    stay, held = hold_out(own, chosen)
    assert len(chosen) == 3
    assert {utterance.speaker for utterance in held} == chosen
    assert {utterance.speaker for utterance in stay} == {f"p{p}" for p in range(10)} - chosen
    assert choose_speakers(own[::-1], 3, 1, "here") == chosen
    assert choose_speakers(own, 3, 2, "here") != chosen


def test_speakers_that_can_have_target_trials_are_held_out():
    own = [*many(2), *[Utterance(f"q{q}", "", 1, 1, speaker=f"q{q}") for q in range(20)]]
    assert choose_speakers(own, 2, 1, "here") == {"p0", "p1"}
    with pytest.raises(SdpnError, match="here: 2 speakers have two utterances; 3 such are needed"):
        choose_speakers(own, 3, 1, "here")


def test_too_few_speakers_are_a_sentence():
    with pytest.raises(SdpnError, match="here: one speaker; at least 4 are needed"):
        choose_speakers(many(1), 2, 1, "here")
