import json

import pytest

from sdpn.errors import SdpnError
from sdpn.report.rows import RESULTS, ResultRow, read_rows


@pytest.fixture
def row(tmp_path):
    return ResultRow(
        "eval",
        "sdpn",
        "lda-plda",
        "as",
        figures={"eer_percent": 2.5, "min_dcf_0.01:10:1": 0.3, "cllr_calibrated": 0.2},
        intervals={"eer_percent": [2.0, 3.0]},
        targets=10,
        nontargets=90,
        scores="scores/eval/sdpn/lda-plda+as/scores.txt",
        folder=tmp_path / "scores/eval/sdpn/lda-plda+as",
    )


def write(exp_dir, tree):
    path = exp_dir / RESULTS
    path.parent.mkdir(exist_ok=True)
    path.write_text(tree if isinstance(tree, str) else json.dumps(tree))


def test_a_row_comes_back_from_the_file_as_it_was_and_its_figures_stand_beside_its_names(tmp_path, row):
    write(tmp_path, {"rows": [row.to_dict()], "settings": {"top_n": 300}})
    assert read_rows(tmp_path) == ([row], {"top_n": 300})
    assert row.to_dict()["eer_percent"] == row.eer_percent == 2.5


def test_a_label_names_what_makes_a_row(row):
    assert row.label == "sdpn lda-plda+as"
    assert ResultRow("eval", "sdpn", "cosine", quality=["norm"], experiment="toy").label == "toy: sdpn cosine+quality"
    assert ResultRow("eval", "sdpn", "cosine", labelled=True).label == "sdpn labels cosine"


def test_a_row_of_an_earlier_version_that_says_less_is_read(tmp_path):
    write(tmp_path, {"rows": [{"trials": "eval", "system": "sdpn", "backend": "cosine", "eer_percent": 5.0}]})
    ((row,), settings) = read_rows(tmp_path)
    assert row.eer_percent == 5.0 and row.weights is None and settings == {}


@pytest.mark.parametrize(
    "tree", ["{", "[]", {"rows": [1]}, {"rows": [{"trials": "eval"}]}, "[" * 100_000, {"rows": [{"of tomorrow": 1}]}]
)
def test_what_holds_no_rows_is_refused_in_a_sentence(tmp_path, tree):
    write(tmp_path, tree)
    with pytest.raises(SdpnError, match=r"results\.json is damaged or of another version of sdpn: run stage 6 on"):
        read_rows(tmp_path)
