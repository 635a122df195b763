from pathlib import Path

import pytest

from sdpn.backend.chain import Chain
from sdpn.backend.config import BackendConfig, OperatingPoint, read_backends
from sdpn.errors import SdpnError

SHIPPED = Path(__file__).parents[2] / "conf" / "backend.yaml"


def test_the_shipped_settings_are_read():
    settings, chains = read_backends(SHIPPED)
    assert settings.norm_names == ["none", "as"]
    assert {name: (one.chain, one.fit_on, one.classes, one.cohort_of) for name, one in chains.items()} == {
        "cosine": ("mean-subtract | length-norm | cosine", "clean", "clusters", "clean"),
        "lda-plda": ("mean-subtract | lda 150 | length-norm | plda", "both", "clusters", "augmented"),
    }
    assert (settings.clusters, settings.top_n, settings.cohort, settings.calibration) == (
        None,
        300,
        "utterances",
        "clusters",
    )
    assert [point.name for point in settings.points] == ["0.01", "0.05"]


def test_every_shipped_chain_can_be_run():
    names = [path.stem for path in (SHIPPED.parent / "backend").glob("*.yaml")]
    _, chains = read_backends(SHIPPED, {"backends": ",".join(names), "adaptation_set": "eval"})
    assert set(chains) == set(names) >= {"cosine", "plda", "lda-plda", "coral-lda-plda"}


def test_names_on_the_command_line_are_taken_once_each():
    settings, chains = read_backends(SHIPPED, {"backends": " plda, cosine,plda", "score_norm": "as"})
    assert list(chains) == ["plda", "cosine"]
    assert settings.norm_names == ["as"]


def test_an_oracle_back_end_is_the_chain_of_its_name():
    _, chains = read_backends(SHIPPED, {"backends": "lda-plda,oracle-lda-plda"})
    assert chains["oracle-lda-plda"] == chains["lda-plda"]


def test_fusions_and_operating_points_are_lists():
    settings, _ = read_backends(
        SHIPPED, {"fusion": "cosine+as, lda-plda; cosine, lda-plda+as", "operating_points": "0.001, 0.01:10:1, 0.05"}
    )
    assert settings.fusions == [["cosine+as", "lda-plda"], ["cosine", "lda-plda+as"]]
    assert [point.name for point in settings.points] == ["0.01", "0.05", "0.001", "0.01:10:1"]
    assert settings.points[-1] == OperatingPoint(0.01, 10, 1)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"backends": "cosine,gmm"}, "'backends' is unknown: gmm; allowed, separated by commas: .*cosine.*oracle-"),
        ({"backends": ","}, "'backends' is empty"),
        ({"backends": "oracle-cosine"}, "'oracle-cosine' in 'backends': the chain .* learns from no classes"),
        ({"backends": "coral-lda-plda"}, "'coral-lda-plda' adapts to a set: name it with 'adaptation_set'"),
        ({"score_norm": "zt"}, "'score_norm' is unknown: zt; allowed, separated by commas: none, z, t, s, as, as2"),
        ({"cohort": "speakers"}, "'cohort' is 'speakers'; allowed: utterances, clusters"),
        ({"top_n": 1}, "'top_n' is 1; expected a whole number at least 2"),
        ({"clusters": 1}, "'clusters' is 1"),
        ({"quality": "loudness"}, "'quality' is unknown: loudness; allowed.*duration, norm, cohort-mean"),
        ({"fusion": "cosine"}, "'fusion' takes two or more of the rows .*, but has but one of them"),
        ({"fusion": "cosine, plda"}, "but names plda, which is not among them"),
        ({"fusion": "cosine, lda-plda", "calibration": "none"}, "learned from calibration trials.*is none"),
        ({"operating_points": "0"}, "'operating_points': '0' is not p_target"),
        ({"operating_points": "0.1:2"}, "'0.1:2' is not p_target or p_target:c_miss:c_fa"),
        ({"calibration_prior": 1.0}, "'calibration_prior' is 1.0"),
        ({"compat": "nist"}, "'compat' is 'nist'; allowed: none, wespeaker, kaldi, voxceleb_trainer"),
        ({"chains": {"cosine": "cosine"}}, "unknown key 'chains'"),
    ],
)
def test_settings_that_are_not_allowed_are_refused_in_a_sentence(overrides, sentence):
    with pytest.raises(SdpnError, match=sentence):
        read_backends(SHIPPED, overrides)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("mine.yaml", "chain: lda | plda\n", "mine.yaml: chain: the step 'lda' lacks its value"),
        ("mine.yaml", "chain: 3\n", "mine.yaml: 'chain' is 3"),
        ("mine.yaml", "steps: cosine\n", "mine.yaml: unknown key 'steps'"),
        ("oracle-mine.yaml", "chain: cosine\n", "does not begin with 'oracle-'"),
        ("a b.yaml", "chain: cosine\n", "a back-end's name consists of letters"),
    ],
)
def test_a_chain_file_that_is_none_is_refused_in_a_sentence(tmp_path, name, text, sentence):
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / name).write_text(text)
    (tmp_path / "backend.yaml").write_text("backends: mine\n")
    with pytest.raises(SdpnError, match=sentence):
        read_backends(tmp_path / "backend.yaml")


def test_settings_without_a_folder_of_chains_are_refused(tmp_path):
    (tmp_path / "backend.yaml").write_text("top_n: 10\n")
    with pytest.raises(SdpnError, match=r"unknown: cosine, lda-plda; allowed.*none: .*backend is empty"):
        read_backends(tmp_path / "backend.yaml")


def test_a_chain_learns_unless_it_needs_but_the_dimension():
    assert not Chain("length-norm | cosine").learns
    assert Chain("mean-subtract | cosine").learns and Chain("plda").learns


def test_points_close_together_have_names_of_their_own():
    points = BackendConfig(operating_points="0.01000001, 0.010").points
    assert [point.name for point in points] == ["0.01", "0.05", "0.01000001"]


def test_a_fusion_named_twice_is_one():
    settings = BackendConfig(fusion="cosine, cosine+as; cosine,cosine+as; cosine+as, lda-plda;")
    assert settings.fusions == [["cosine", "cosine+as"], ["cosine+as", "lda-plda"]]


def test_utterances_are_classes_with_their_views_alone(tmp_path):
    (tmp_path / "backend.yaml").write_text("backends: mine\n")
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "mine.yaml").write_text("chain: wccn | cosine\nfit_on: clean\nclasses: utterances\n")
    with pytest.raises(SdpnError, match=r"classes is utterances, .*: let fit_on be both"):
        read_backends(tmp_path / "backend.yaml")
