from functools import partial

import numpy as np
import pytest
import yaml

from sdpn.cluster.pool import run_jobs
from sdpn.errors import SdpnError
from sdpn.extraction import sets
from sdpn.extraction.sets import System, extract_set
from sdpn.extraction.store import read_xvectors
from sdpn.models.folder import CHECKSUMS
from tests.features.conftest import run_here
from tests.kills import killed_at_every_change, tree


@pytest.fixture(autouse=True)
def several_shards(monkeypatch):
    monkeypatch.setattr(sets, "SHARD_SIZE", 6)


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file() and path.name != ".lock"}


def test_every_utterance_gets_its_vector_and_its_frames(data, index, model, encoder, tmp_path):
    from sdpn.extraction.extractor import Extractor

    assert extract_set(data / "train", tmp_path / "x", System("trained", model), run_here)
    found = read_xvectors(tmp_path / "x")
    assert found.ids == index.ids
    np.testing.assert_array_equal(found.num_frames, index.frames)
    expected = Extractor(encoder, "cpu").extract(index, range(len(index)))
    np.testing.assert_allclose(found.vectors, expected, rtol=0, atol=1e-5)


def test_the_number_of_jobs_changes_no_bit(data, model, tmp_path):
    system = System("trained", model)
    for nj in (1, 3):
        extract_set(data / "train", tmp_path / f"{nj}" / "x", system, partial(run_jobs, nj=nj))
    one, three = files(tmp_path / "1" / "x"), files(tmp_path / "3" / "x")
    assert one["xvector.ark"] == three["xvector.ark"]
    assert set(one) == set(three) == {"xvector.ark", "xvector.scp", "utt2num_frames"}


def test_a_rerun_does_nothing(data, model, tmp_path, capsys):
    extract_set(data / "train", tmp_path / "x", System("trained", model), run_here)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "x").rglob("*") if path.name != ".lock"}
    assert not extract_set(data / "train", tmp_path / "x", System("trained", model), run_here)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "nothing to do" in capsys.readouterr().out


def test_killed_between_shards_it_goes_on_and_ends_with_the_same_bytes(data, model, tmp_path):
    made = []

    def killed(function, jobs):
        for job in jobs[:2]:
            yield function(*job)
        raise KeyboardInterrupt

    def counted(function, jobs):
        made.extend(jobs)
        return run_here(function, jobs)

    with pytest.raises(KeyboardInterrupt):
        extract_set(data / "train", tmp_path / "x", System("trained", model), killed)
    extract_set(data / "train", tmp_path / "x", System("trained", model), counted)
    assert len(made) == 2  # of 4 shards
    extract_set(data / "train", tmp_path / "whole" / "x", System("trained", model), run_here)
    assert files(tmp_path / "x")["xvector.ark"] == files(tmp_path / "whole" / "x")["xvector.ark"]


def test_killed_at_any_moment_and_run_again_it_leaves_what_an_undisturbed_run_leaves(
    data, model, tmp_path, monkeypatch
):
    monkeypatch.setattr(sets, "SHARD_SIZE", 10)

    def extract(folder):
        extract_set(data / "train", folder / "x", System("trained", model), run_here)

    def left(folder):
        sizes = b"outputs"  # which the done-file names; those of an scp depend on the folder's name
        files = tree(folder).items()
        return {name: sizes in data or data.replace(str(folder).encode(), b"") for name, data in files}

    extract(tmp_path / "whole")
    for folder in killed_at_every_change(extract, tmp_path):
        extract(folder)
        assert left(folder) == left(tmp_path / "whole")


def test_another_form_is_written_of_what_is_there(data, model, tmp_path, capsys, monkeypatch):
    extract_set(data / "train", tmp_path / "x", System("trained", model), run_here)
    before = read_xvectors(tmp_path / "x")
    monkeypatch.setattr(sets, "make_shard", None)
    assert extract_set(data / "train", tmp_path / "x", System("trained", model, form="hdf5"), run_here)
    assert "are written as hdf5" in capsys.readouterr().out
    after = read_xvectors(tmp_path / "x")
    assert after.ids == before.ids and (tmp_path / "x" / "xvector.h5").exists()
    np.testing.assert_array_equal(after.vectors, before.vectors)
    np.testing.assert_array_equal(after.num_frames, before.num_frames)
    assert not extract_set(data / "train", tmp_path / "x", System("trained", model, form="hdf5"), run_here)


def test_crops_are_another_extraction(data, model, tmp_path):
    extract_set(data / "train", tmp_path / "x", System("trained", model), run_here)
    before = read_xvectors(tmp_path / "x").vectors
    assert extract_set(data / "train", tmp_path / "x", System("trained", model, crops=2, crop_frames=20), run_here)
    assert not np.allclose(read_xvectors(tmp_path / "x").vectors, before)


def test_other_weights_are_extracted_again_with_the_reason(data, model, tmp_path, capsys):
    import torch

    extract_set(data / "train", tmp_path / "x", System("trained", model), run_here)
    before = read_xvectors(tmp_path / "x").vectors
    weights = torch.load(model / "weights.pt")
    torch.save({name: 1.1 * tensor for name, tensor in weights.items()}, model / "weights.pt")
    (model / CHECKSUMS).unlink()
    assert extract_set(data / "train", tmp_path / "x", System("trained", model), run_here)
    assert "made again: model changed" in capsys.readouterr().out
    assert not np.allclose(read_xvectors(tmp_path / "x").vectors, before)


def test_the_baseline_of_statistics_needs_no_model(data, index, tmp_path):
    extract_set(data / "eval", tmp_path / "x", System("fbank-stats", None), run_here)
    found = read_xvectors(tmp_path / "x")
    assert found.vectors.shape == (4, 40)


def test_features_made_with_other_settings_are_refused(data, model, tmp_path):
    config = yaml.safe_load((model / "config.yaml").read_text())
    config["features"]["low_freq"] = 100.0
    (model / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SdpnError, match=r"has other features than .* \(low_freq 20.0 where it was 100.0\)"):
        extract_set(data / "train", tmp_path / "x", System("trained", model), run_here)


@pytest.mark.parametrize("content", ["[1", "3", "network: {}", "features: 3", "features: {low_freq: x}"])
def test_a_damaged_configuration_of_the_model_is_a_sentence(data, model, tmp_path, content):
    (model / "config.yaml").write_text(content)
    with pytest.raises(SdpnError, match=r"config\.yaml(: 'low_freq' is 'x'| is damaged: run stage 4 again)"):
        extract_set(data / "train", tmp_path / "x", System("trained", model), run_here)


def test_without_a_model_it_says_which_stage_makes_it(data, tmp_path):
    with pytest.raises(SdpnError, match="run stage 4 first"):
        extract_set(data / "train", tmp_path / "x", System("trained", tmp_path / "absent"), run_here)
