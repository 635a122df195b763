from sdpn.report.results import card_lines
from sdpn.report.rows import ResultRow
from sdpn.training.card import RESULTS, write_results


def test_error_rates_are_put_into_the_card_once(tmp_path):
    card = tmp_path / "model" / "README.md"
    card.parent.mkdir()
    card.write_text(f"# A model\n\n{RESULTS}\n\nnot yet\n\n## Licence\n\nmine\n")
    write_results(tmp_path, ["| eval | 5.00 |"])
    assert card.read_text() == f"# A model\n\n{RESULTS}\n\n| eval | 5.00 |\n\n## Licence\n\nmine\n"
    written = card.stat().st_mtime_ns
    write_results(tmp_path, ["| eval | 5.00 |"])
    assert card.stat().st_mtime_ns == written
    write_results(tmp_path, ["| eval | 4.00 |"])
    assert "5.00" not in card.read_text()


def test_a_model_without_a_card_gets_none(tmp_path):
    write_results(tmp_path, ["| eval | 5.00 |"])
    assert not list(tmp_path.iterdir())


def test_the_card_has_the_rows_of_the_network_itself():
    figures, intervals = {"eer_percent": 5.0}, {"eer_percent": (4.0, 6.5)}
    rows = [
        ResultRow("eval", "sdpn", "cosine", "none", figures=figures, intervals=intervals),
        ResultRow("eval", "untrained", "cosine", "none", baseline=True, figures=figures),
    ]
    *_, line = card_lines(rows)
    assert line.startswith("| eval | cosine | none | 5.00")
    assert "4.00" in line and "6.50" in line
    assert len(card_lines(rows)) == 3
