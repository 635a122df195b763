"""How to make an experiment again, as the page says it: programs and run.sh understand the lines, for every corpus."""

import importlib.util
import shlex
from pathlib import Path

import pytest
import yaml

from sdpn import config
from sdpn.augment.config import AugmentConfig, ViewConfig
from sdpn.backend.config import BackendConfig
from sdpn.config import to_dict
from sdpn.corpus.layout import Corpus
from sdpn.extraction.config import ExtractionConfig
from sdpn.extraction.views import VIEWS, AugmentedViews
from sdpn.finetune.config import FineTuneConfig, LabelConfig
from sdpn.recipe.calls import words_for
from sdpn.recipe.check import check
from sdpn.recipe.command_line import read
from sdpn.report.again import again
from sdpn.shards import Work
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
    views = AugmentedViews(data, ViewConfig(augment="waveform", noise_snr=(-3.0, 9.0)), ExtractionConfig(views=3), 9)
    chosen = {"views": 3, "view_frames": 250, "view_share": 0.5, "view_utterances": 70, "seed": 9}
    for name, inputs, report in [("", {"crops": 4}, {}), (VIEWS, chosen, {"augment": views.augmentation()})]:
        Work(exp / "xvectors" / "train" / name, "xvectors", inputs).finish([], **report)
    train, sourced, extract, score = again(exp, asked)
    program, *words = shlex.split(train)
    run = check(read(words), ROOT, 9)
    assert program == "./run.sh" and (run.corpus, run.held, run.stages) == (corpus, True, (4, 4))
    assert (run.data, run.exp) == (str(data), f"{exp}-again")
    training = parsed("train_sdpn", [*words_for("train_sdpn", run), run.data, run.exp])
    assert training["augment"] == "waveform" and training["seed"] == 7
    assert read_settings(training["config_file"], {"seed": training["seed"]}).train == TrainConfig(seed=7, epochs=30)
    assert sourced == ". ./path.sh"
    program, *words = shlex.split(extract.replace("$(nproc)", "2"))
    found = parsed("extract_xvectors", words)
    assert program == "steps/extract_xvectors.py" and (found["data"], found["exp"]) == (data, Path(f"{exp}-again"))
    assert {name: found[name] for name in chosen} == chosen and (found["crops"], found["nj"]) == (4, 2)
    assert found["baselines"] == "none" and config.given(ViewConfig, found) == vars(views.augment.for_back_ends())
    program, *words = shlex.split(score)
    found = parsed("score", words)
    assert program == "steps/score.py" and (found["data"], found["exp"]) == (data, Path(f"{exp}-again"))
    assert (found["clusters"], found["score_norm"], found["seed"]) == (12, "none", 7)


def test_of_a_round_the_lines_make_labels_and_fine_tune(tmp_path):
    exp = tmp_path / "exp" / "round1"
    made = {"source": "clusters", "labels": LabelConfig(clusters=12, min_silhouette=-0.5), "seed": 7}
    Work(exp / "labels", "labels", made).finish([], source="clusters", experiment="exp/small")
    tuned = {**to_dict(FineTuneConfig(epochs=3, gate=False)), "augment": AugmentConfig(p_clean=0.3).recorded()}
    (exp / "config.yaml").write_text(yaml.safe_dump({**tuned, "learned_from": "clusters", "init": "exp/other"}))
    sourced, label, tune, *_ = again(exp, {"data": "data"})
    program, *words = shlex.split(label)
    found = parsed("make_pseudo_speakers", words)
    assert sourced == ". ./path.sh" and program == "steps/make_pseudo_speakers.py"
    assert [str(found[name]) for name in ("data", "exp", "round")] == ["data", "exp/small", f"{exp}-again"]
    assert (found["clusters"], found["min_silhouette"], found["seed"]) == (12, -0.5, 7)
    program, *words = shlex.split(tune)
    found = parsed("finetune", words)
    assert program == "steps/finetune.py" and str(found["init"]) == "exp/other"
    assert FineTuneConfig(**config.given(FineTuneConfig, found)) == FineTuneConfig(epochs=3, gate=False)
    assert config.given(ViewConfig, found)["p_clean"] == 0.3
