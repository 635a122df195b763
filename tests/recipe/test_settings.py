from pathlib import Path

import pytest

from sdpn.augment.config import ViewConfig
from sdpn.recipe.corpora import kind_of
from sdpn.recipe.options import SECTIONS
from sdpn.recipe.settings import Settings

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "conf" / "sdpn" / "paper.yaml"


def settings(train, corpus="folder", **texts):
    files = {section.name: str(ROOT / section.file) for section in SECTIONS.values()}
    files |= {"train": str(train), "finetune": str(ROOT / kind_of(corpus).finetune)}
    return Settings(corpus, files, {f"augment.{key}": text for key, text in texts.items()})


@pytest.mark.parametrize("name", ["paper", "frobenius", "reference"])
def test_the_published_settings_augment_views_as_published_whatever_conf_augment_says(name):
    found = settings(PAPER.with_name(f"{name}.yaml")).read("augment")
    published = ViewConfig(p_equalize=0.0, p_band_limit=0.0)
    shares = [key for key in vars(published) if key.startswith("p_")]
    assert [getattr(found, share) for share in shares] == [getattr(published, share) for share in shares]


def test_the_toy_corpus_brings_its_channels_itself():
    found = settings(PAPER.with_name("toy.yaml"), "toy").read("augment")
    assert (found.p_equalize, found.p_band_limit) == (0, 0)
    assert settings(PAPER.with_name("small.yaml")).read("augment").p_equalize == 1


def test_what_a_training_says_of_its_views_is_shown_with_its_file_and_gives_way_to_the_command_line():
    lines = {line.split()[0]: line for line in settings(PAPER, p_band_limit="0.3").lines() if "p_" in line}
    assert lines["p_equalize"].split()[1:3] == ["0", str(PAPER)]
    assert lines["p_band_limit"].split()[1:4] == ["0.3", "command", "line"]
    assert settings(PAPER, p_band_limit="0.3").read("augment").p_band_limit == 0.3
