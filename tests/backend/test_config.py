from pathlib import Path

import pytest

from sdpn import config
from sdpn.backend.config import BackendConfig
from sdpn.errors import SdpnError

SHIPPED = Path(__file__).parents[2] / "conf" / "backend.yaml"


def test_the_shipped_settings_are_read():
    settings = config.read(SHIPPED, BackendConfig)
    assert settings.backend_names == ["cosine", "plda"]
    assert settings.norm_names == ["none", "as"]
    assert settings.chains["plda"] == "mean-subtract | lda 150 | length-norm | plda"
    assert (settings.clusters, settings.top_n, settings.cohort) == (None, 300, "utterances")


def test_names_on_the_command_line_are_taken_once_each():
    settings = config.read(SHIPPED, BackendConfig, {"backends": " plda, cosine,plda", "score_norm": "as"})
    assert settings.backend_names == ["plda", "cosine"]
    assert settings.norm_names == ["as"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"backends": "cosine,gmm"}, "'backends' is unknown: gmm; allowed, separated by commas: cosine, plda"),
        ({"backends": ","}, "'backends' is empty"),
        ({"score_norm": "zt"}, "'score_norm' is unknown: zt; allowed, separated by commas: none, z, t, s, as"),
        ({"chains": {"cosine": "cosine", "plda": "lda | plda"}}, "chains.plda: the step 'lda' lacks its value"),
        ({"chains": {"cosine": "cosine", "plda": "plda", "a/b": "cosine"}}, "the name 'a/b' in 'chains'"),
        ({"chains": ["cosine"]}, r"'chains' is \['cosine'\]; expected `name: value` lines below it, each value text"),
        ({"chains": {"cosine": 3}}, "'chains.cosine' is 3"),
        ({"cohort": "speakers"}, "'cohort' is 'speakers'; allowed: utterances, clusters"),
        ({"top_n": 1}, "'top_n' is 1; expected a whole number at least 2"),
        ({"clusters": 1}, "'clusters' is 1"),
    ],
)
def test_settings_that_are_not_allowed_are_refused_in_a_sentence(overrides, sentence):
    with pytest.raises(SdpnError, match=sentence):
        config.read(SHIPPED, BackendConfig, overrides)


def test_a_file_without_chains_is_refused(tmp_path):
    path = tmp_path / "backend.yaml"
    path.write_text("top_n: 10\n")
    with pytest.raises(SdpnError, match="the key 'chains' is missing"):
        config.read(path, BackendConfig)
