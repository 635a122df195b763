"""The README files: links lead somewhere, commands are ones that programs take, and examples in Python run."""

import ast
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from sdpn.cli import cli
from sdpn.recipe.command_line import read

ROOT = Path(__file__).parents[1]
DOCUMENTS = [path for path in sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("*/README.md")) if ".venv" not in path.parts]
OWN = ("./run.sh", "sdpn", "steps/", "local/", "tests/bench/", "python", "pytest", "pip", ".ci/run", ".")


def fences(path: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language; "" for those without one, which hold commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def commands() -> list[tuple[str, str]]:
    """Return (document, line) of every command line; lines that end in a backslash go on."""
    found = []
    for path in DOCUMENTS:
        for block in fences(path, ""):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip():
                    found.append((str(path.relative_to(ROOT)), line.strip()))
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files(path):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_every_command_is_one_that_the_shell_reads():
    for document, line in commands():
        done = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True)
        assert done.returncode == 0, f"{document}: {line}: {done.stderr}"


def simple(line: str) -> list[list[str]]:
    """Return the words of each command in a line, comments and `<(...)` left out."""
    words = shlex.shlex(re.sub(r"<\([^)]*\)", "PIPE", line), posix=True, punctuation_chars=True)
    words.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", ";", "|"):
            found.append([])
        else:
            found[-1].append(word)
    return found


def test_every_command_has_options_that_its_program_takes():
    for document, line in commands():
        for words in simple(line):
            where = f"{document}: {line}"
            if words[0] == "./run.sh":
                read(words[1:])
            elif words[0] == "sdpn":
                parse(cli, words[1:], where)
            elif words[0].startswith(("steps/", "local/", "tests/bench/")):
                program = ROOT / words[0]
                assert program.exists(), where
                known = subprocess.run([program, "--help"], cwd=ROOT, capture_output=True, text=True).stdout
                given = [word.split("=")[0] for word in words[1:] if word.startswith("--")]
                assert [name for name in given if name not in known] == [], where
            else:
                assert words[0].startswith(OWN) or words[0] in ("mkdir", "ln"), where
                assert all((ROOT / word).exists() for word in words[1:] if word.startswith("tests/")), where


def parse(group: click.Group, words: list[str], where: str) -> None:
    """Let click read the words of a verb, without running it."""
    context = click.Context(group, info_name="sdpn")
    name, command, rest = group.resolve_command(context, list(words))
    assert command is not None, where
    if isinstance(command, click.Group):
        parse(command, rest, where)
        return
    try:
        command.make_context(name, rest, parent=context, resilient_parsing=False)
    except click.exceptions.Exit:  # --help
        pass
    except click.UsageError as error:
        pytest.fail(f"{where}: {error.format_message()}")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_in_python_are_python(path):
    for block in fences(path, "python"):
        ast.parse(block)


def test_the_first_page_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split()) <= 1000
    assert text.count("![") == 1
