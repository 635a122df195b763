"""The whole recipe with --cmd slurm, on a real Slurm: the bytes are those of --cmd local."""

import pytest

from tests.recipe.conftest import Recipe

CMD = "slurm --poll 0.5 --max-poll 2 --mem 1G --step-mem 2G --train-mem 2G --step-cpus 1 --train-cpus 1"


@pytest.mark.slow
def test_the_recipe_on_a_cluster_gives_the_same_bytes(tmp_path, slurm, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in the jobs: the last bits of a training depend on it
    recipe = Recipe(tmp_path)
    recipe.run()
    recipe.keep("local")
    recipe.go_back("nothing")
    said = recipe.run("--cmd", CMD)
    for step in ("make_cuts", "make_fbank", "make_augment", "train_sdpn", "extract_xvectors", "score"):
        assert f"of {step} in" in said
    assert [name for name in recipe.changes("local") if "/cluster/" not in name] == []
    assert "of make_fbank in" not in recipe.run("--cmd", CMD, "--stop-stage", "3")
