import io

import click
import pytest

from sdpn import console
from sdpn.errors import SdpnError


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_each_tenth_is_a_plain_line(capsys):
    with console.Progress("fbank", 200, "utterances") as progress:
        for _ in range(200):
            progress.advance()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[4].startswith("  fbank: 100/200 utterances")


def test_on_a_terminal_there_is_a_bar_and_no_line(capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with console.Progress("training", 10, "steps", done=4, own_lines=True) as progress:
        progress.advance(5, "loss 3.2")
    assert "training" in terminal.getvalue() and "4/10" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_callers_may_print_their_own_lines_where_there_is_no_terminal(capsys):
    with console.Progress("training", 10, "steps", own_lines=True) as progress:
        progress.advance(5)
        progress.advance(5, "loss 3.2")
    assert capsys.readouterr().out == "  loss 3.2\n"


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (SdpnError("data/corpus.json is missing: run stage 0 first"), 1, "error: data/corpus.json is missing"),
        (PermissionError(13, "Permission denied", "/etc/x"), 1, "error: /etc/x: permission denied"),
        (click.UsageError("no such option"), 2, "no such option"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_a_user_can_cause_is_a_sentence_and_a_status(error, status, sentence, capsys, monkeypatch):
    @click.command()
    def command():
        raise error

    monkeypatch.setattr("sys.argv", ["step"])
    with pytest.raises(SystemExit) as ended:
        console.run(command)
    assert ended.value.code == status
    assert sentence in capsys.readouterr().err


def test_only_what_resumes_says_so(capsys, monkeypatch):
    @click.command()
    def command():
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["sdpn"])
    for resumes in (True, False):
        with pytest.raises(SystemExit):
            console.run(command, resumes)
        assert ("to go on" in capsys.readouterr().err) == resumes


def test_a_bug_keeps_its_traceback(monkeypatch):
    @click.command()
    def command():
        raise ZeroDivisionError

    monkeypatch.setattr("sys.argv", ["step"])
    with pytest.raises(ZeroDivisionError):
        console.run(command)


def test_the_end_of_a_file_is_not_taken_for_an_interruption(monkeypatch):
    @click.command()
    def command():
        raise EOFError("compressed file ended")

    monkeypatch.setattr("sys.argv", ["step"])
    with pytest.raises(EOFError, match="compressed file ended"):
        console.run(command)
