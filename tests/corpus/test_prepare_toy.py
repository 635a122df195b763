import gzip
import json
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.files import exclusive
from sdpn.trials.lists import read_trials
from tests.corpus.conftest import ROOT, content, times

SIZE = ["--train-speakers", "4", "--eval-speakers", "3"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory, prepare_toy, make_cuts):
    """A tiny default corpus, with its cuts."""
    data = tmp_path_factory.mktemp("toy")
    prepare_toy(*SIZE, "--nj", 2, data)
    return data


def rows(data, name: str) -> list[dict]:
    with gzip.open(data / name / "supervisions.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def audio(data) -> dict[str, bytes]:
    return {name: data for name, data in content(data).items() if name.endswith(".flac")}


def wait_until_free(folder) -> None:
    for _ in range(100):
        try:
            with exclusive(folder):
                return
        except SdpnError:
            time.sleep(0.05)


def test_the_sets_have_their_roles(toy):
    corpus = Corpus.read(toy)
    assert (corpus.name, corpus.train, corpus.evals, corpus.rir) == ("toy", "train", ["eval"], "rir")
    assert corpus.noises == {"noise": "noise", "music": "music"}
    assert (len(rows(toy, "train")), len(rows(toy, "eval"))) == (4 * 9, 3 * 12)


def test_speakers_are_disjoint_and_have_several_sessions(toy):
    sessions = {
        name: {(row["speaker"], row["custom"]["session"]) for row in rows(toy, name)} for name in ("train", "eval")
    }
    assert len(sessions["train"]) == 4 * 3
    assert not {speaker for speaker, _ in sessions["train"]} & {speaker for speaker, _ in sessions["eval"]}


def test_target_trials_cross_sessions(toy):
    known = {row["id"]: row for row in rows(toy, "eval")}
    trials = read_trials(toy / "trials" / "eval.txt")
    assert sum(trial.target for trial in trials) == 3 * 3 * 16
    for trial in trials:
        enroll, test = known[trial.enroll], known[trial.test]
        assert (enroll["speaker"] == test["speaker"]) == trial.target
        assert not trial.target or enroll["custom"] != test["custom"]


def test_speech_is_16_khz_flac_of_a_few_seconds_at_a_sensible_level(toy):
    for path in sorted((toy / "audio" / "speech").rglob("*.flac")):
        samples, rate = soundfile.read(path)
        assert rate == 16000
        assert 1 < len(samples) / rate < 8
        assert -30 < 20 * np.log10(np.sqrt(np.mean(samples**2))) < -18


def test_training_cuts_hold_no_label(toy, make_cuts):
    make_cuts(toy)
    for cut in CutSet.from_jsonl_lazy(toy / "train" / "cuts.jsonl.gz"):
        (supervision,) = cut.supervisions
        assert supervision.speaker is None
        assert supervision.gender is None
        assert not supervision.custom
        assert not cut.custom


def test_a_rerun_does_no_work(toy, prepare_toy, capsys):
    before = times(toy)
    prepare_toy(*SIZE, toy)
    assert times(toy) == before
    assert "the corpus 'toy' is there: nothing to do" in capsys.readouterr().out


def test_a_killed_run_goes_on_to_the_same_bytes_with_another_number_of_processes(toy, prepare_toy, tmp_path):
    command = [sys.executable, str(ROOT / "local" / "prepare_toy.py"), *SIZE, "--nj", "2", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(tmp_path.rglob("*.flac"))) < 5:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    process.kill()  # the workers are to go with it, and with them the lock
    process.wait()
    wait_until_free(tmp_path)
    assert not (tmp_path / "corpus.json").exists()
    (next(tmp_path.rglob("*.flac")).parent / ".half.partial-1.flac").write_bytes(b"half")
    prepare_toy(*SIZE, "--nj", 1, tmp_path)
    assert audio(tmp_path) == audio(toy)
    assert content(tmp_path / "trials") == content(toy / "trials")
    assert rows(tmp_path, "train") == rows(toy, "train")


def test_dev_speakers_are_taken_out_of_train_and_eval_stays(toy):
    from prepare_toy import plan_sets

    options = {"seed": 1, "train_speakers": 4, "eval_speakers": 3, "dev_speakers": 0}
    whole, split = plan_sets(options), plan_sets({**options, "dev_speakers": 2})
    assert split["eval"] == whole["eval"]
    assert split["train"] + split["dev"] == whole["train"]
    assert len({utterance.speaker for utterance in split["dev"]}) == 2


def test_another_seed_is_another_corpus_of_other_voices(toy):
    from prepare_toy import plan_sets

    options = {"train_speakers": 4, "eval_speakers": 3, "dev_speakers": 0}
    first, second = plan_sets({**options, "seed": 1}), plan_sets({**options, "seed": 2})
    said = [{utterance.request for own in sets.values() for utterance in own} for sets in (first, second)]
    assert not said[0] & said[1]


def test_another_corpus_in_the_data_folder_is_refused(toy, prepare_toy):
    with pytest.raises(SdpnError, match="already holds the same corpus with seed 1"):
        prepare_toy(*SIZE, "--seed", 2, toy)


def test_too_many_dev_speakers_are_a_sentence(tmp_path, prepare_toy):
    with pytest.raises(SdpnError, match="--dev-speakers is 3; give 0, or 2 to 2"):
        prepare_toy(*SIZE, "--dev-speakers", 3, tmp_path)
