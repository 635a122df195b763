"""What the programs of stage 0 share."""

from pathlib import Path

import pytest

from sdpn.corpus.layout import Corpus
from sdpn.corpus.manifests import refuse_equal_ids
from sdpn.corpus.options import named_sets
from sdpn.corpus.stage0 import GivenTrials, generate, split_speakers, trials_of
from sdpn.corpus.writer import Prepared, write_corpus
from sdpn.errors import Reason, SdpnError
from sdpn.skipped import Skipped
from sdpn.trials.lists import Trial
from sdpn.utterance import Utterance
from tests.corpus.conftest import write_audio


def entries(*speakers: str | None, utterances: int = 2) -> list[Utterance]:
    return [Utterance(f"{s}-{n}", f"{s}-{n}.wav", 16000, 16000, speaker=s) for s in speakers for n in range(utterances)]


NONE = GivenTrials("", [], {})


def test_evaluation_sets_are_called_eval_or_as_their_folders(tmp_path):
    for name in ("train", "far", "eval_near", "my set"):
        (tmp_path / name).mkdir()
    options = {"train": str(tmp_path / "train"), "eval": f"{tmp_path}/far"}
    assert list(named_sets(options)) == ["train", "eval"]
    options["eval"] = f"{tmp_path}/far, {tmp_path}/eval_near,{tmp_path}/my set"
    assert list(named_sets(options)) == ["train", "eval_far", "eval_near", "eval_my_set"]
    with pytest.raises(SdpnError, match=r"--eval names two sets called eval_far"):
        named_sets({**options, "eval": f"{tmp_path}/far,{tmp_path}/far"})
    with pytest.raises(SdpnError, match=r"nowhere: there is no such file or folder"):
        named_sets({**options, "eval": f"{tmp_path}/nowhere"})


def test_speakers_in_the_trials_are_evaluated():
    own = entries(*"abcdef")
    given = GivenTrials("t", [Trial("a-0", "a-1", True), Trial("a-0", "c-1", False)], {})
    sets = split_speakers(own, {entry.id: entry.id for entry in own}, given, {"eval_share": 0.2, "seed": 1}, "here")
    assert {entry.speaker for entry in sets["eval"]} == {"a", "c"}


def test_speakers_of_enrolled_models_are_evaluated_too():
    own = entries(*"abcdef")
    given = GivenTrials("t", [Trial("M", "a-1", True), Trial("M", "b-1", False)], {"M": ["f-0", "a-0"]})
    sets = split_speakers(own, {entry.id: entry.id for entry in own}, given, {"eval_share": 0.2, "seed": 1}, "here")
    assert {entry.speaker for entry in sets["eval"]} == {"a", "b", "f"}


def test_trials_cannot_be_made_without_labels(tmp_path):
    with pytest.raises(SdpnError, match=r"eval: \d+ of \d+ utterances have no speaker label .*give --trials"):
        generate("eval", entries(None, "a"), 1)
    with pytest.raises(SdpnError, match=r"eval: there is no usable utterance in it"):
        generate("eval", [], 1)


def test_unlabelled_sets_serve_with_given_trials(tmp_path):
    own = [Utterance(f"u{n}", "", 16000, 16000) for n in range(3)]
    given = GivenTrials("t", [Trial("u0", "u1", True), Trial("u0", "u2", False)], {})
    sets = trials_of(given, {"eval": {entry.id: entry.id for entry in own}}, {"eval": own}, tmp_path, 1)
    assert list(sets["eval"].trials) == given.trials


def test_ids_used_twice_are_counted_and_their_places_named():
    own = [*entries("a"), Utterance("a-1", "other.wav", 16000, 16000)]
    with pytest.raises(SdpnError, match=r"train: 1 ids are used twice, e.g. a-1 for a-1.wav and for other.wav"):
        refuse_equal_ids(own, "train")


def test_speakers_that_are_trained_on_and_evaluated_are_refused_before_anything_is_written(tmp_path):
    prepared = Prepared({"train": entries("a", "b"), "eval": entries("b", "c")}, {}, {})
    with pytest.raises(SdpnError, match=r"1 speaker is both in train and in eval: b"):
        write_corpus(tmp_path, "test", {}, prepared)
    assert not list(tmp_path.rglob("*.gz"))


def test_unknown_speakers_are_nobody(tmp_path):
    sounds = {name: str(write_audio(tmp_path / f"{name}.wav")) for name in ("train", "eval")}
    own = {name: [Utterance(f"{name}-{n}", sounds[name], 16000, 19200) for n in range(2)] for name in sounds}
    write_corpus(tmp_path / "data", "test", {}, Prepared(own, {}, {}))
    assert Corpus.read(tmp_path / "data").evals == ["eval"]


def test_utterances_that_are_trained_on_and_evaluated_are_refused_without_labels_too(tmp_path):
    own = [Utterance(f"u{n}", f"{n}.wav", 16000, 16000) for n in range(4)]
    parts = [Utterance(f"u4-{n}", "4.wav", 16000, 16000, recording="u4", start=n, duration=1) for n in range(2)]
    prepared = Prepared({"train": [*own[:3], parts[0]], "eval": [own[3], parts[1], own[2]]}, {}, {})
    with pytest.raises(SdpnError, match=r"1 utterance is both in train and in eval, e.g. u2 \(2.wav\): take them out"):
        write_corpus(tmp_path, "test", {}, prepared)
    assert not list(tmp_path.rglob("*.gz"))


def test_trials_that_leave_too_few_speakers_to_train_on_are_a_sentence():
    own = entries(*"abc")
    given = GivenTrials("t", [Trial("a-0", "a-1", True), Trial("a-0", "c-1", False)], {})
    with pytest.raises(
        SdpnError, match=r"here: t names 2 of its 3 speakers, who are evaluated: at least two others are"
    ):
        split_speakers(own, {entry.id: entry.id for entry in own}, given, {"eval_share": 0.2, "seed": 1}, "here")


def test_what_was_left_out_is_told_where_there_is_too_little_to_split():
    options, skipped = (
        {"eval_share": 0.2, "seed": 1},
        [Skipped("a-9", Reason("there is no such file")), Skipped("b-9", Reason("x"))],
    )
    with pytest.raises(
        SdpnError, match=r"here: none of 2 utterances can be used \(the first: a-9: there is no such file"
    ):
        split_speakers([], {}, NONE, options, "here", skipped)
    with pytest.raises(SdpnError, match=r"here: there is no utterance in it"):
        split_speakers([], {}, NONE, options, "here")
    reason = r" \(2 utterances were left out, the first, a-9: there is no such file\)$"
    with pytest.raises(
        SdpnError, match=r"here: 2 speakers; at least 4 are needed: .*--eval-share 0 trains on all of it" + reason
    ):
        split_speakers(entries("a", "b"), {}, NONE, options, "here", skipped)
    own = entries("a", "b", "c")
    given = GivenTrials("t", [Trial("a-0", "a-1", True), Trial("a-0", "b-1", False)], {})
    with pytest.raises(SdpnError, match=r"at least two others are needed to train on" + reason):
        split_speakers(own, {entry.id: entry.id for entry in own}, given, options, "here", skipped)
    with pytest.raises(SdpnError, match=r"here: 2 speakers; .*trains on all of it$"):
        split_speakers(entries("a", "b"), {}, NONE, options, "here")


def test_an_empty_set_gets_no_trials_and_its_reason_is_told(tmp_path):
    speech, skipped = (
        {"train": entries("a", "b"), "eval": []},
        {"eval": [Skipped("u1", Reason("there is no such file"))]},
    )
    for given in (NONE, GivenTrials("t", [Trial("u1", "u2", True)], {})):
        trials = trials_of(given, {"eval": {}}, speech, tmp_path, 1, skipped)
        assert trials == {}
        with pytest.raises(
            SdpnError, match=r"eval: none of 1 files can be used \(the first: u1: there is no such file"
        ):
            write_corpus(tmp_path, "test", {}, Prepared(speech, trials, {}, skipped))


def test_what_was_left_out_is_told_where_names_are_missing(tmp_path):
    own, skipped = entries("a", "b"), {"eval": [Skipped("/x/b-2.wav", Reason("cut off", "1 s"))]}
    given = GivenTrials("t", [Trial("a-0", "a-1", True), Trial("a-0", "b-2", False)], {})
    ids = {"eval": {entry.id: entry.id for entry in own}}
    with pytest.raises(
        SdpnError, match=r"b-2; .*; 1 of its files cannot be used, e.g. /x/b-2.wav: cut off: 1 s; a name"
    ):
        trials_of(given, ids, {"eval": own}, tmp_path, 1, skipped)


def test_the_list_is_called_as_its_file_is():
    assert GivenTrials(str(Path("/x/VoxSRC 2021.val.txt")), [], {}).name == "VoxSRC_2021"
    assert GivenTrials("/x/.trials.txt", [], {}).name == "trials"
    assert NONE.names == set()
