from pathlib import Path

import pytest
from click.testing import CliRunner

from sdpn.cli import cli
from sdpn.report import experiments


@pytest.mark.parametrize("named", [["a", "b"], ["--model", "a", "--model", "b"], ["a", "--model", "b"]])
def test_experiments_are_named_as_arguments_or_by_model(monkeypatch, named):
    asked = []

    def compare(folders, out):
        asked.append((folders, out))
        return "table", ["a sentence"], [out / "report.html"]

    monkeypatch.setattr(experiments, "compare_experiments", compare)
    result = CliRunner().invoke(cli, ["compare", *named, "--out", "page"], catch_exceptions=False)
    assert result.exit_code == 0 and "a sentence" in result.output
    assert asked == [([Path("a"), Path("b")], Path("page"))]


def test_without_experiments_there_is_nothing_to_compare():
    result = CliRunner().invoke(cli, ["compare"])
    assert result.exit_code == 2 and "name the experiments to compare" in result.output
