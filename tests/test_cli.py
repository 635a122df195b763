import subprocess
import sys

import pytest
from click.testing import CliRunner

from sdpn.cli import VERBS, cli


def test_help_lists_every_verb_with_its_line():
    output = CliRunner().invoke(cli, ["--help"]).output
    for verb, (_, line) in VERBS.items():
        assert verb in output and line.split()[0] in output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_of_its_own(verb):
    result = CliRunner().invoke(cli, [verb, "--help"])
    assert result.exit_code == 0 and result.output.startswith("Usage: ")


@pytest.mark.parametrize("group", ["import", "export"])
def test_no_line_of_help_is_cut_short(group):
    assert "..." not in CliRunner().invoke(cli, [group, "--help"]).output.split("Commands:")[1]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["shwo"], "did you mean show?"),
        (["verifi"], "did you mean verify?"),
        (["qqq"], "there are verify, "),
        (["export", "onxx"], "did you mean onnx?"),
    ],
)
def test_an_unknown_verb_is_answered_with_the_nearest(words, hint):
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert f"no verb '{words[-1]}'" in result.output and hint in result.output


def test_help_loads_nothing_heavy():
    script = (
        "import sys; sys.argv = ['sdpn', '--help']\n"
        "try:\n    from sdpn.cli import main; main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'lhotse', 'numba', 'scipy', 'sklearn', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", ["verify", "enroll", "identify", "embed", "score", "compare", "info", "show"])
def test_every_verb_takes_a_model(verb):
    assert "--model" in CliRunner().invoke(cli, [verb, "--help"]).output
