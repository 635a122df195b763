"""x-vectors of augmented views of the training set."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from sdpn.augment.banks import open_banks
from sdpn.augment.config import ViewConfig
from sdpn.augment.sampling import make_sampler
from sdpn.cluster.pool import run_jobs
from sdpn.extraction import sets, views
from sdpn.extraction.config import ExtractionConfig
from sdpn.extraction.extractor import Extractor, Held
from sdpn.extraction.sets import System, extract_set
from sdpn.extraction.store import read_xvectors
from sdpn.extraction.views import AugmentedViews, utterance_of
from tests.features.conftest import run_here
from tests.kills import killed_at_every_change, tree


@pytest.fixture(autouse=True)
def several_shards(monkeypatch):
    monkeypatch.setattr(sets, "SHARD_SIZE", 6)
    monkeypatch.setattr(views, "_UTTERANCES_AT_ONCE", 4)


@pytest.fixture
def augmented(data):
    """augmented(seed=1, **settings) -> views of the prepared training set."""

    def make(seed=1, **settings):
        config = ExtractionConfig(**{"views": 2, "view_frames": 30, **settings})
        return AugmentedViews(data, ViewConfig(), config, seed)

    return make


def extract(data, model, folder, of, run=run_here):
    extract_set(data / "train", folder, System("trained", model), run, of)
    return read_xvectors(folder)


def test_every_utterance_gets_its_views_which_are_those_of_the_sampler_without_disguises(
    data, index, model, encoder, augmented, tmp_path
):
    found = extract(data, model, tmp_path / "views", augmented())
    assert found.ids == [f"{name}-view{view}" for name in index.ids for view in (1, 2)]
    assert [utterance_of(name) for name in found.ids] == [name for name in index.ids for _ in range(2)]
    assert (found.num_frames == 30).all()
    undisguised = dataclasses.replace(ViewConfig(), p_mask=0.0, p_equalize=0.0, p_band_limit=0.0)
    sampler = make_sampler(index, open_banks(data, index), undisguised, 1, student_views=2, student_frames=30)
    of_seven = sampler.views(views._EPOCH, np.array([7])).student[:, 0]
    expected = Extractor(encoder, torch.device("cpu")).extract(Held(list(of_seven)), range(2))
    np.testing.assert_allclose(found.vectors[14:16], expected, rtol=0, atol=1e-5)


def test_neither_jobs_nor_sample_change_a_view(data, model, augmented, tmp_path):
    one = extract(data, model, tmp_path / "one", augmented())
    three = extract(data, model, tmp_path / "three", augmented(), partial(run_jobs, nj=3))
    np.testing.assert_array_equal(one.vectors, three.vectors)
    half = extract(data, model, tmp_path / "half", augmented(view_share=0.5))
    rows = [one.ids.index(name) for name in half.ids]
    assert len(rows) == 20
    np.testing.assert_allclose(half.vectors, one.vectors[rows], rtol=0, atol=1e-5)


def test_another_seed_has_other_views_of_other_utterances(data, model, augmented, tmp_path):
    one, other = (extract(data, model, tmp_path / f"{seed}", augmented(seed, view_utterances=5)) for seed in (1, 2))
    assert len(one.ids) == len(other.ids) == 10
    assert one.ids != other.ids


def test_the_statistics_of_fbank_have_views_too(data, augmented, tmp_path):
    extract_set(data / "train", tmp_path / "v", System("fbank-stats", None), run_here, augmented())
    found = read_xvectors(tmp_path / "v")
    assert found.vectors.shape == (40, 40)
    assert np.isfinite(found.vectors).all()


def test_a_rerun_does_nothing_and_other_settings_are_extracted_again(data, model, augmented, tmp_path, capsys):
    extract(data, model, tmp_path / "v", augmented())
    capsys.readouterr()
    extract(data, model, tmp_path / "v", augmented())
    assert "nothing to do, 40 x-vectors are there" in capsys.readouterr().out
    assert len(extract(data, model, tmp_path / "v", augmented(views=3)).ids) == 60
    assert "made again: views" in capsys.readouterr().out


def test_killed_at_any_moment_and_run_again_it_leaves_what_an_undisturbed_run_leaves(
    data, model, augmented, tmp_path, monkeypatch
):
    monkeypatch.setattr(sets, "SHARD_SIZE", 10)

    def run(folder):
        extract_set(data / "train", folder / "x", System("trained", model), run_here, augmented())

    def left(folder):
        sizes = b"outputs"
        files = tree(folder).items()
        return {name: sizes in data or data.replace(str(folder).encode(), b"") for name, data in files}

    run(tmp_path / "whole")
    for folder in killed_at_every_change(run, tmp_path):
        run(folder)
        assert left(folder) == left(tmp_path / "whole")
