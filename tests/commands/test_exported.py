"""The verbs with an exported model, in an environment without torch."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sdpn
from sdpn.cli import cli
from sdpn.errors import SdpnError
from sdpn.extraction.vector_files import read_vectors
from tests.voices import write_experiment, write_voice

pytest.importorskip("onnxruntime")

DOCUMENT = Path(sdpn.__file__).parent / "README.md"
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\nfrom sdpn.cli import main\nmain()\n"


def call(*words, folder) -> subprocess.CompletedProcess:
    """Run a verb in a process in which torch cannot be imported."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *(str(word) for word in words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("exp") / "tiny")


@pytest.fixture(scope="module")
def exported(exp, tmp_path_factory):
    """An exported model, and four recordings of two voices beside it."""
    folder = tmp_path_factory.mktemp("exported")
    cli.main(["export", "onnx", str(exp), "--out", str(folder / "encoder.onnx")], standalone_mode=False)
    for voice in range(2):
        for take in range(2):
            write_voice(folder / f"{voice}{take}.wav", voice, take, seconds=1.5)
    write_voice(folder / "long.wav", 0, 5, seconds=70.0)  # several windows
    return folder


def test_vectors_are_those_of_the_model_also_of_long_recordings(exp, exported):
    done = call("embed", "00.wav", "long.wav", "--model", "encoder.onnx", "-o", "x.npz", "--nj", 1, folder=exported)
    assert done.returncode == 0, done.stderr
    expected = sdpn.load(exp).embed([exported / "00.wav", exported / "long.wav"])
    found = read_vectors(exported / "x.npz")
    assert found.ids == ["00.wav", "long.wav"]
    np.testing.assert_allclose(found.vectors, expected, atol=1e-4 * np.abs(expected).max())


def test_two_recordings_are_compared_as_by_the_experiment(exp, exported):
    model = sdpn.load(exp)
    score = model.score(exported / "00.wav", exported / "01.wav")
    done = call("verify", "00.wav", "01.wav", "--model", "encoder.onnx", folder=exported)
    assert done.returncode in (0, 1), done.stderr
    assert f"score {score:.3f}"[:-1] in done.stdout
    assert f"log-likelihood ratio {model.log_likelihood_ratio(score):.1f}"[:-2] in done.stdout


def test_speakers_are_enrolled_and_identified(exported):
    for name in ("0", "1"):
        done = call("enroll", f"voice{name}", f"{name}0.wav", "--model", "encoder.onnx", folder=exported)
        assert done.returncode == 0, done.stderr
    done = call("identify", "11.wav", "--model", "encoder.onnx", "--threshold", "-1", folder=exported)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("11.wav: voice")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--backend", "plda"], "has no back-end 'plda': it has 'cosine'"),
        (["--device", "cuda"], "computes on the CPU"),
    ],
)
def test_what_an_exported_model_has_not_is_a_sentence(exported, words, sentence):
    if words[0] == "--device":
        with pytest.raises(SdpnError, match=sentence):
            sdpn.load(exported / "encoder.onnx", device="cuda")
        return
    done = call("verify", "00.wav", "01.wav", "--model", "encoder.onnx", *words, folder=exported)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_the_example_in_the_documents_runs_without_torch(exported):
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "onnxruntime" in block)
    code = f"import sys; sys.modules['torch'] = None\n{example}"
    done = subprocess.run([sys.executable, "-c", code], cwd=exported, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(1, 12) 16000\n"


def test_a_damaged_file_is_a_sentence(exported, tmp_path):
    (tmp_path / "broken.onnx").write_bytes((exported / "encoder.onnx").read_bytes()[:1000])
    with pytest.raises(SdpnError, match=r"no ONNX model|damaged"):
        sdpn.load(tmp_path / "broken.onnx")
