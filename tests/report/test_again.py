"""How to make an experiment again, as the page says it: programs and run.sh understand the lines, for every corpus."""

import importlib.util
import shlex
from pathlib import Path

import pytest
import yaml

from sdpn.augment.config import AugmentConfig
from sdpn.backend.config import BackendConfig
from sdpn.config import to_dict
from sdpn.corpus.layout import Corpus
from sdpn.recipe.calls import words_for
from sdpn.recipe.check import check
from sdpn.recipe.command_line import read
from sdpn.report.report import again
from sdpn.training.config import TrainConfig, read_settings

ROOT = Path(__file__).parents[2]


def parsed(program, words):
    """What a program of steps/ understands its words to say."""
    spec = importlib.util.spec_from_file_location(program, ROOT / "steps" / f"{program}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main.make_context(program, [*words]).params


@pytest.mark.parametrize("corpus", ["toy", "folder", "kaldi", "lhotse", "voxceleb"])
def test_the_lines_are_understood_as_they_are_printed(tmp_path, corpus):
    data, exp = tmp_path / "my data", tmp_path / "exp" / "small"
    data.mkdir()
    exp.mkdir(parents=True)
    Corpus(corpus, "train", ["eval"], {"eval": "eval"}).write(data)
    trained = to_dict(TrainConfig(seed=7, epochs=30))
    augment = {**to_dict(AugmentConfig()), "augment": "waveform"}
    augment = {name: value for name, value in augment.items() if name in ("augment", "p_clean", "noise_snr")}
    (exp / "config.yaml").write_text(yaml.safe_dump({**trained, "augment": augment, "inputs": {"features": "0" * 32}}))
    asked = {**to_dict(BackendConfig(clusters=12, score_norm="none")), "seed": 7, "data": str(data)}
    train, sourced, score = again(exp, asked)
    program, *words = shlex.split(train)
    run = check(read(words), ROOT, 9)
    assert program == "./run.sh" and (run.corpus, run.held, run.stages) == (corpus, True, (4, 5))
    assert (run.data, run.exp) == (str(data), f"{exp}-again")
    training = parsed("train_sdpn", [*words_for("train_sdpn", run), run.data, run.exp])
    assert training["augment"] == "waveform" and training["seed"] == 7
    assert read_settings(training["config_file"], {"seed": training["seed"]}).train == TrainConfig(seed=7, epochs=30)
    assert sourced == ". ./path.sh"
    program, *words = shlex.split(score)
    found = parsed("score", words)
    assert program == "steps/score.py" and (found["data"], found["exp"]) == (data, Path(f"{exp}-again"))
    assert (found["clusters"], found["score_norm"], found["seed"]) == (12, "none", 7)
