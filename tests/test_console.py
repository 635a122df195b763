import io
import subprocess
import sys

import click
import pytest

from sdpn import console
from sdpn.errors import SdpnError


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_number_has_its_noun_in_singular_or_plural():
    assert [console.counted(number, "job") for number in range(3)] == ["0 jobs", "1 job", "2 jobs"]
    assert [console.counted(number, "copy is", "copies are") for number in (1, 21)] == ["1 copy is", "21 copies are"]


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


def test_a_line_may_stay_above_the_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with console.Progress("training", 10, "steps", own_lines=True) as progress:
        progress.advance(5, "loss 3.2")
        progress.keep("epoch 1/2  loss 3.2")
    assert "  epoch 1/2  loss 3.2\n" in terminal.getvalue()


def test_a_long_silence_is_broken_by_what_goes_on(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, threading\n"
        "import click\n"
        "from sdpn import console\n"
        "console.SILENCE, said, write = 0.1, threading.Semaphore(0), os.write\n"
        "os.write = lambda file, text: (write(file, text), said.release())\n"
        "@click.command()\n"
        "def main():\n"
        "    assert said.acquire(timeout=60)\n"
        "    with console.Progress('fbank', 12, 'utterances') as progress:\n"
        "        progress.advance(1)\n"
        "        assert said.acquire(timeout=60) and said.acquire(timeout=60)\n"
        "console.run(main)\n"
    )
    said = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True).stderr
    assert "still at work" in said
    assert "fbank: 1/12 utterances" in said


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
