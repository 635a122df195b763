"""`sdpn verify`, `enroll`, `identify` and `embed`, as a user types them."""

import json
import math
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import click
import kaldiio
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import sdpn
from sdpn.cli import cli, main
from sdpn.commands.options import answer
from sdpn.errors import SdpnError
from sdpn.extraction.vector_files import read_vectors
from tests.voices import RATE, voice, write_experiment, write_small_model, write_voice


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("exp") / "tiny")


@pytest.fixture(scope="module")
def wavs(tmp_path_factory):
    """speaker 0 and 1, two takes each, in several formats and rates, in folders of their own."""
    root = tmp_path_factory.mktemp("wavs")
    write_voice(root / "zero" / "a.wav", 0, 5)
    write_voice(root / "zero" / "b.flac", 0, 6, rate=22050)
    write_voice(root / "one" / "a.wav", 1, 5)
    write_voice(root / "one" / "b c.ogg", 1, 6, rate=48000, format="OGG", subtype="VORBIS")
    return root


@pytest.fixture
def there(wavs, monkeypatch):
    monkeypatch.chdir(wavs)


def sdpn_(*arguments):
    """Run the command in this process; the result has exit_code, output and exception."""
    return CliRunner().invoke(cli, list(map(str, arguments)), standalone_mode=False)


def call(*arguments, **options):
    """Run the command as a program."""
    code = "from sdpn.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def test_verify_says_score_ratio_and_decision(exp, there):
    model = sdpn.load(exp)
    score = model.score("zero/a.wav", "one/a.wav")
    result = sdpn_("verify", "zero/a.wav", "one/a.wav", "--model", exp)
    assert f"score {score:.4f} (cosine)" in result.output
    assert f"log-likelihood ratio {model.log_likelihood_ratio(score):.2f}: " in result.output
    assert ("the same speaker" if score >= model.limit() else "different speakers") in result.output


@pytest.mark.parametrize(
    ("above", "status", "words"), [(0.01, 1, "different speakers"), (-0.01, 0, "the same speaker")]
)
def test_the_threshold_decides_and_the_status_tells(exp, there, above, status, words):
    score = sdpn.load(exp).score("zero/a.wav", "zero/b.flac")
    arguments = ("verify", "zero/a.wav", "zero/b.flac", "--model", exp, "--threshold", score + above)
    assert words in sdpn_(*arguments).output
    quiet = call(*arguments, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (status, "", "")


def test_the_prior_moves_the_decision(exp, there):
    limits = [sdpn.load(exp).limit(prior) for prior in (0.001, 0.999)]
    assert limits[0] > 1 > limits[1]
    for prior, words in ((0.001, "different speakers"), (0.999, "the same speaker")):
        assert (
            words in sdpn_("verify", "zero/a.wav", "zero/a.wav", "--model", exp, "--prior", prior).output or prior > 0.5
        )


@pytest.mark.parametrize("given", [("--prior", "nan"), ("--threshold", "nan"), ("--threshold", "-inf")])
def test_a_limit_that_is_no_number_is_wrong_usage_and_accepts_nobody(given):
    for arguments in (("verify", "a.wav", "b.wav"), ("identify", "a.wav")):
        done = sdpn_(*arguments, "--model", "exp", *given)
        assert isinstance(done.exception, click.UsageError) and done.exception.exit_code == 2
        assert f"{given[1]} is not a finite number" in str(done.exception)


def test_a_score_that_is_no_number_reaches_no_limit():
    assert [answer(score, 0.5) for score in (0.6, 0.5, 0.4, math.nan)] == [0, 0, 1, 1]


def test_without_a_calibration_there_is_a_score_but_no_decision(tmp_path, there):
    model = write_small_model(tmp_path / "model")
    done = call("verify", "zero/a.wav", "zero/a.wav", "--model", model)
    assert done.returncode == 2 and "score 1.0000 (length-norm | cosine)" in done.stdout
    assert (
        "no decision: there is no usable calibration: 'length-norm | cosine' is no back-end that stage 6" in done.stderr
    )
    decided = call("verify", "zero/a.wav", "zero/a.wav", "--model", model, "--threshold", 0.5)
    assert decided.returncode == 0 and "the same speaker" in decided.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["verify", "zero/a.wav", "nowhere.wav"], "error: nowhere.wav: no such file"),
        (["verify", "zero/a.wav", "zero/a.wav", "--device", "warp:9"], "error: --device is 'warp:9'"),
        (["identify", "zero/a.wav", "--speakers", "none.json"], "error: none.json: there is no such file"),
    ],
)
def test_an_error_is_one_sentence_and_status_2_where_1_is_an_answer(exp, there, arguments, sentence):
    done = call(*arguments, "--model", exp)
    assert done.returncode == 2 and done.stderr.startswith(sentence) and done.stderr.count("\n") == 1


def test_a_recording_too_short_to_rely_on_is_warned_of(exp, there, tmp_path):
    short = write_voice(tmp_path / "short.wav", 0, 5, seconds=0.3)
    common = ("--model", exp, "--threshold", 0)
    sentence = f"warning: {short}: only 0.30 s long: too little to rely on\n"
    assert call("verify", "zero/a.wav", short, *common).stderr == sentence
    assert call("verify", "zero/a.wav", short, *common, "--quiet").stderr == ""
    assert sdpn_("enroll", "zero", short, "--model", exp, "--speakers", tmp_path / "s.json").stderr == sentence
    assert sdpn_("identify", short, *common, "--speakers", tmp_path / "s.json").stderr == sentence


@pytest.mark.parametrize("bug", [RuntimeError("a bug"), OSError(28, "No space left on device")])
def test_nothing_that_goes_wrong_looks_like_another_speaker(there, monkeypatch, capsys, bug):
    def fails(*_):
        raise bug

    monkeypatch.setattr("sdpn.recognizer.Recognizer.__init__", fails)
    monkeypatch.setattr(sys, "argv", ["sdpn", "verify", "zero/a.wav", "zero/a.wav", "--model", "exp"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert ("Traceback" in said and "a bug" in said) or said.startswith("error: the disk is full")


def test_speakers_are_enrolled_and_identified(exp, there, tmp_path):
    file = tmp_path / "speakers.json"
    common = ("--model", exp, "--speakers", file)
    assert "zero: one recording in" in sdpn_("enroll", "zero", "zero/a.wav", *common).output
    assert "one: 2 recordings in" in sdpn_("enroll", "one", "one/a.wav", "one/b c.ogg", *common).output
    result = sdpn_("identify", "zero/a.wav", "one/b c.ogg", *common, "--threshold", 0.9, "--quiet")
    assert result.output.split() == ["zero", "one"] or result.output.split() == ["zero", "-"]
    full = sdpn_("identify", "zero/a.wav", *common, "--threshold", 0.9).output
    assert "zero/a.wav: zero\n  zero: score 1.0000, log-likelihood ratio 4.00: 55 times as likely" in full
    nobody = call("identify", "zero/b.flac", *common, "--threshold", 1.1)
    assert nobody.returncode == 1 and "nobody who is enrolled" in nobody.stdout


def test_enrolling_again_adds_and_replace_forgets(exp, there, tmp_path):
    common = ("--model", exp, "--speakers", tmp_path / "s.json")
    sdpn_("enroll", "zero", "zero/a.wav", *common)
    assert "zero: 2 recordings" in sdpn_("enroll", "zero", "zero/b.flac", "zero/a.wav", *common).output
    assert "zero: one recording" in sdpn_("enroll", "zero", "zero/b.flac", "--replace", *common).output


def test_a_recording_is_one_however_its_path_is_written_and_two_of_one_name_are_two(exp, wavs, tmp_path, monkeypatch):
    common = ("--model", exp, "--speakers", tmp_path / "s.json")
    monkeypatch.chdir(wavs / "zero")
    assert "zero: one recording" in sdpn_("enroll", "zero", "a.wav", "../zero/a.wav", *common).output
    again = sdpn_("enroll", "zero", wavs / "zero" / "a.wav", *common).output
    assert f"zero: {wavs.resolve()}/zero/a.wav was enrolled before and is replaced\nzero: one recording" in again
    monkeypatch.chdir(wavs / "one")
    other = sdpn_("enroll", "zero", "a.wav", *common).output
    assert "zero: 2 recordings" in other and "replaced" not in other


def test_of_a_pipe_no_path_is_kept(exp, there, tmp_path):
    """A pipe of tomorrow may have the same path, and another voice in it."""
    common = ("--model", exp, "--speakers", tmp_path / "s.json")
    os.mkfifo(tmp_path / "pipe")
    for number, recording in enumerate(("zero/a.wav", "zero/a.wav", "zero/b.flac")):
        content = Path(recording).read_bytes()
        writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
        writer.start()
        found = sdpn_("enroll", "zero", tmp_path / "pipe", *common)
        writer.join()
        assert ("replaced" in found.output) == (number == 1)
    own = json.loads((tmp_path / "s.json").read_text())["speakers"]["zero"]
    assert len(own) == 2 and all(name.startswith("a pipe (") for name in own)
    assert "zero: 3 recordings" in sdpn_("enroll", "zero", "zero/a.wav", *common).output
    assert sdpn_("identify", "zero/a.wav", *common, "--threshold", 0.9, "--quiet").output.split() == ["zero"]


def test_a_broken_recording_enrolls_nobody(exp, there, tmp_path):
    file = tmp_path / "s.json"
    sdpn_("enroll", "zero", "zero/a.wav", "--model", exp, "--speakers", file)
    before = file.read_bytes()
    result = sdpn_("enroll", "zero", "zero/b.flac", "nowhere.wav", "--model", exp, "--speakers", file)
    assert isinstance(result.exception, SdpnError) and "nobody was enrolled: nowhere.wav" in str(result.exception)
    assert file.read_bytes() == before


def test_likelihoods_of_speakers_with_several_recordings_are_warned_of_once(exp, there, tmp_path):
    common = ("--model", exp, "--speakers", tmp_path / "s.json")
    of_one = "warning: the calibration is of one recording against one"
    sdpn_("enroll", "zero", "zero/a.wav", *common)
    assert of_one not in sdpn_("identify", "zero/a.wav", *common).stderr
    sdpn_("enroll", "zero", "zero/b.flac", *common)
    assert sdpn_("identify", "zero/a.wav", "one/a.wav", *common).stderr.count(of_one) == 1
    assert sdpn_("identify", "zero/a.wav", *common, "--quiet").stderr.count(of_one) == 1
    assert sdpn_("identify", "zero/a.wav", *common, "--quiet", "--threshold", 0.9).stderr == ""


def test_every_recording_has_its_line_in_quiet_also_a_broken_one(exp, there, tmp_path):
    common = ("--model", exp, "--speakers", tmp_path / "s.json")
    sdpn_("enroll", "zero", "zero/a.wav", *common)
    done = call("identify", "nowhere.wav", "zero/a.wav", *common, "--threshold", 0.9, "--quiet")
    assert (done.returncode, done.stdout) == (2, "-\nzero\n")
    assert done.stderr.startswith("warning: nowhere.wav: no such file")


def test_speakers_of_another_model_are_refused(exp, there, tmp_path):
    file = tmp_path / "s.json"
    sdpn_("enroll", "zero", "zero/a.wav", "--model", exp, "--speakers", file)
    other = write_small_model(tmp_path / "other", channels=24)
    result = sdpn_("identify", "zero/a.wav", "--model", other, "--speakers", file)
    assert "enrolled with another model" in str(result.exception)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".ark"])
def test_embed_writes_x_vectors_that_are_read_again_by_their_names(exp, there, tmp_path, suffix):
    out = tmp_path / f"x{suffix}"
    result = sdpn_("embed", "zero/a.wav", "one", "--model", exp, "--out", out, "--nj", 1)
    assert result.exit_code == 0, result.exception
    found = read_vectors(out)
    last = "b_c.ogg" if suffix == ".ark" else "b c.ogg"
    assert found.ids == ["a.wav", last, "zero/a.wav"]
    model = sdpn.load(exp)
    for vector, path in zip(found.vectors, ("one/a.wav", "one/b c.ogg", "zero/a.wav"), strict=True):
        np.testing.assert_allclose(vector, model.embed(path), rtol=0, atol=1e-5)


def test_an_ark_is_kaldis_with_scp_and_frames(exp, there, tmp_path):
    sdpn_("embed", ".", "--model", exp, "-o", tmp_path / "x.ark", "--nj", 1)
    found = kaldiio.load_scp(str(tmp_path / "x.scp"))
    assert list(found) == ["one/a.wav", "one/b_c.ogg", "zero/a.wav", "zero/b.flac"]
    assert found["one/a.wav"].shape == (12,)
    assert (tmp_path / "x.num_frames").read_text().splitlines()[0] == "one/a.wav 150"


def test_an_ark_is_written_again_but_no_other_list_goes_for_its_scp(exp, there, tmp_path, monkeypatch):
    ark, scp, frames = (tmp_path / f"wav.{suffix}" for suffix in ("ark", "scp", "num_frames"))
    for path, text in ((scp, "a zero/a.wav\n"), (scp, f"a {tmp_path}/other.ark:7\n"), (frames, "a 150\n")):
        path.write_text(text)
        monkeypatch.setattr("sdpn.extraction.embedder.embed_all", None)  # refused before any work
        result = sdpn_("embed", "zero", "--model", exp, "-o", ark, "--nj", 1)
        assert isinstance(result.exception, SdpnError) and f"{path} beside it would be replaced" in str(
            result.exception
        )
        assert path.read_text() == text and not ark.exists()
        path.unlink()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    write_voice(tmp_path / "in" / "a.wav", 0, 5)
    assert sdpn_("embed", "in", "--model", exp, "-o", "wav.ark", "--nj", 1).exit_code == 0
    monkeypatch.chdir(tmp_path.parent)
    assert sdpn_("embed", tmp_path / "in", "--model", exp, "-o", ark, "--nj", 1).exit_code == 0


def test_where_nothing_can_be_written_is_noticed_before_any_work(exp, there, tmp_path, monkeypatch):
    monkeypatch.setattr("sdpn.extraction.embedder.embed_all", None)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.npz").mkdir()
    for out, reason in (("file/x.npz", "a file is where a folder should be"), ("folder.npz", "a folder is where a")):
        result = sdpn_("embed", "zero", "--model", exp, "-o", tmp_path / out)
        assert f"cannot write {tmp_path / out}: {reason}" in str(result.exception)


def test_trial_lists_in_the_names_of_files_are_scored(exp, there, tmp_path):
    sdpn_("embed", ".", "--model", exp, "-o", tmp_path / "x.npz", "--nj", 1)
    (tmp_path / "trials").write_text("1 zero/a.wav zero/b.flac\n0 zero/a.wav one/a.wav\n")
    scored = sdpn_(
        *("score", "--trials", tmp_path / "trials", "--xvectors", tmp_path / "x.npz"),
        *("--model", exp, "--backend", "cosine", "--out", tmp_path / "scores"),
    )
    assert scored.exit_code == 0, scored.exception
    model = sdpn.load(exp)
    scores = [float(line.split()[2]) for line in (tmp_path / "scores").read_text().splitlines()]
    expected = [model.score("zero/a.wav", other) for other in ("zero/b.flac", "one/a.wav")]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_folder_with_broken_files_gives_the_others(exp, tmp_path):
    for number in range(3):
        write_voice(tmp_path / "in" / f"{number}.wav", number, 0, seconds=0.5)
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF1234WAVE")
    soundfile.write(tmp_path / "in" / "silent.flac", np.zeros(8000), 16000)
    done = call("embed", tmp_path / "in", "--model", exp, "-o", tmp_path / "x.npz", "--nj", 2)
    assert done.returncode == 0 and "3 x-vectors in" in done.stdout and "2 left out" in done.stdout
    assert done.stderr.count("warning: ") == 2 and "in/broken.wav: " in done.stderr
    assert read_vectors(tmp_path / "x.npz").ids == ["0.wav", "1.wav", "2.wav"]


def test_what_cannot_even_be_listed_in_a_folder_is_warned_of(exp, tmp_path):
    write_voice(tmp_path / "in" / "a.wav", 0, 0, seconds=0.5)
    os.mkfifo(tmp_path / "in" / "pipe.wav")
    (tmp_path / "in" / os.fsdecode(b"\xff.wav")).write_bytes(b"RIFF")
    done = call("embed", tmp_path / "in", "--model", exp, "-o", tmp_path / "x.npz", "--nj", 1)
    assert done.returncode == 0 and "1 x-vector in" in done.stdout and "2 left out" in done.stdout
    assert f"warning: {tmp_path}/in/pipe.wav: not a regular file" in done.stderr
    assert "its name is not UTF-8" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["zero/a.wav", "-o", "x.txt"], "expected a name that ends in .npz"),
        (["nowhere.wav", "-o", "x.npz"], "nowhere.wav: there is no such file"),
        (["zero", "one", "-o", "x.npz"], "two recordings would be called a.wav: give the folder above both"),
        (["empty", "-o", "x.npz"], "there is no audio file in it"),
        (["broken.wav", "-o", "x.npz"], "none of the 1 recordings can be used: nothing was written"),
    ],
)
def test_what_cannot_be_embedded_is_a_sentence(exp, wavs, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    for name in ("zero", "one"):
        os.symlink(wavs / name, name)
    Path("empty").mkdir()
    Path("broken.wav").write_bytes(b"")
    result = sdpn_("embed", *arguments, "--model", exp, "--nj", 1)
    assert isinstance(result.exception, SdpnError) and sentence in str(result.exception)
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_knows_verbs_and_options(shell):
    words = {
        "bash": {"COMP_WORDS": "sdpn ver", "COMP_CWORD": "1"},
        "zsh": {"COMP_WORDS": "sdpn ver", "COMP_CWORD": "1"},
    }
    environment = os.environ | {"_SDPN_COMPLETE": f"{shell}_complete"}
    environment |= words.get(shell, {"COMP_WORDS": "sdpn ver", "COMP_CWORD": "ver"})
    script = Path(sys.executable).with_name("sdpn")
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "verify" in done.stdout, done.stderr


def write_two_channels(path: Path, left: np.ndarray, right: np.ndarray) -> None:
    soundfile.write(path, np.stack([left, right], 1), RATE, subtype="FLOAT")


def test_the_channel_that_is_taken_is_said_where_channels_differ(tmp_path):
    model, speech = write_small_model(tmp_path / "model"), voice(0, 0)
    write_voice(tmp_path / "mono.wav", 0, 0)
    write_two_channels(tmp_path / "same.wav", speech, speech)
    write_two_channels(tmp_path / "noisy.wav", 1e-4 * np.random.default_rng(0).standard_normal(len(speech)), speech)
    write_two_channels(tmp_path / "silent.wav", 0 * speech, speech)

    def verify(name: str, *options: str):
        known = ("--model", model, "--threshold", "0.9999")
        return sdpn_("verify", tmp_path / "mono.wav", tmp_path / name, *known, *options)

    assert verify("same.wav").return_value == 0 and "channel" not in verify("same.wav").stderr
    assert "channels differ, and channel 1 is taken" in verify("noisy.wav").stderr
    assert re.search(r"silent.*channel 1 is taken: --channel N", str(verify("silent.wav").exception))
    for name in ("noisy.wav", "silent.wav"):
        found = verify(name, "--channel", "2")
        assert found.return_value == 0 and "channel" not in found.stderr
    assert "it has 2 channels" in str(verify("same.wav", "--channel", "3").exception)
    assert isinstance(verify("same.wav", "--channel", "left").exception, click.BadParameter)
    assert verify("same.wav", "--channel", "mean").return_value == 0


def test_a_pipe_is_read_once(tmp_path):
    model = write_small_model(tmp_path / "model")
    write_voice(tmp_path / "a.wav", 0, 0)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes((tmp_path / "a.wav").read_bytes()))
    writer.start()
    found = sdpn_("verify", tmp_path / "pipe", tmp_path / "a.wav", "--model", model, "--threshold", "0.9999")
    writer.join()
    assert found.return_value == 0
