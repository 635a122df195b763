"""The executable of stage 5, as run.sh calls it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdpn.extraction.store import read_xvectors

STEP = Path(__file__).parents[2] / "steps" / "extract_xvectors.py"


def extract(*arguments):
    return subprocess.run([sys.executable, STEP, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def exp(tmp_path, model):
    """An experiment's folder as stage 4 leaves it."""
    shutil.copytree(model, tmp_path / "exp" / "model")
    shutil.copytree(model, tmp_path / "exp" / "systems" / "untrained" / "model")
    return tmp_path / "exp"


def test_all_sets_and_baselines_are_extracted_and_a_rerun_does_nothing(data, exp):
    done = extract("--nj", 2, data, exp)
    assert done.returncode == 0, done.stderr
    for folder, size in (
        (exp, 6),
        (exp / "systems" / "untrained", 6),
        (exp / "systems" / "fbank-stats", 40),
        (exp / "systems" / "xvector+fbank-stats", 46),
    ):
        assert read_xvectors(folder / "xvectors" / "train").vectors.shape == (20, size)
        assert read_xvectors(folder / "xvectors" / "eval").vectors.shape == (4, size)
        assert read_xvectors(folder / "xvectors" / "train" / "views").vectors.shape == (100, size)
    rerun = extract("--nj", 1, data, exp)
    assert rerun.stdout.count("nothing to do") == 9


def test_the_untrained_network_is_left_out_where_it_is_not_asked_for(data, exp):
    done = extract("--baselines", "none", "--views", 0, data, exp)
    assert done.returncode == 0, done.stderr
    assert not (exp / "systems" / "untrained" / "xvectors").exists()
    assert read_xvectors(exp / "systems" / "xvector+fbank-stats" / "xvectors" / "eval").vectors.shape == (4, 46)


@pytest.mark.parametrize("none", [("--views", 0), ("--augment", "off")])
def test_views_that_are_not_asked_for_any_more_go(data, exp, none):
    assert extract("--views", 1, data, exp).returncode == 0
    folder = exp / "xvectors" / "train" / "views"
    assert len(read_xvectors(folder).ids) == 20
    done = extract(*none, data, exp)
    assert done.returncode == 0 and f"{folder} is removed" in done.stdout
    assert not folder.exists()


def test_without_banks_there_are_no_views_and_it_says_why(data, exp):
    shutil.rmtree(data / "augment")
    done = extract(data, exp)
    assert done.returncode == 0 and "stage 3 has not been run" in done.stdout
    assert not (exp / "xvectors" / "train" / "views").exists()


def test_a_model_from_elsewhere_has_no_untrained_twin(data, exp):
    shutil.rmtree(exp / "systems")
    done = extract(data, exp)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (exp / "systems").iterdir()} == {"fbank-stats", "xvector+fbank-stats"}


def test_before_training_it_says_which_stage_is_missing(data, tmp_path):
    done = extract(data, tmp_path / "nothing")
    assert done.returncode == 1
    assert "run stage 4 first" in done.stderr


def test_gpus_that_are_not_there_are_a_sentence(data, exp):
    done = extract("--ngpu", 2, data, exp)
    assert done.returncode == 1
    assert "torch finds no GPU here" in done.stderr
