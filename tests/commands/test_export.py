import subprocess
import sys

import pytest

from sdpn.features.config import FbankConfig
from sdpn.models.folder import write_model
from sdpn.models.registry import build_encoder

NETWORK = {"network": "xvector", "num_bins": 10, "channels": 8, "embedding_size": 4}


@pytest.fixture
def exp(tmp_path):
    """An experiment with a model."""
    write_model(tmp_path / "exp" / "model", build_encoder(**NETWORK), NETWORK, FbankConfig(num_mel_bins=10).spectral())
    return tmp_path / "exp"


def sdpn(*arguments):
    code = "from sdpn.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def test_an_experiment_is_exported_into_its_model_folder(exp):
    for form, name in (("onnx", "encoder.onnx"), ("torch", "encoder.pt2")):
        done = sdpn("export", form, exp)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{exp}/model/{name}: 0.") and "embeddings differ by" in done.stdout
        assert done.stderr == "" and done.stdout.count("\n") == 1
    assert sorted(path.name for path in (exp / "model").iterdir()) == [
        "SHA256SUMS", "config.yaml", "encoder.onnx", "encoder.pt2", "weights.pt"
    ]  # fmt: skip


def test_a_model_folder_is_exported_where_out_says(exp, tmp_path):
    for number, named in enumerate(([exp / "model"], ["--model", exp])):
        done = sdpn("export", "torch", *named, "--out", tmp_path / f"new{number}" / "speaker.pt2")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"new{number}" / "speaker.pt2").exists()


@pytest.mark.parametrize("named", [[], ["a", "--model", "b"]])
def test_one_model_is_named(named):
    done = sdpn("export", "onnx", *named)
    assert done.returncode == 2 and "name an experiment or a model folder, once" in done.stderr


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_a_folder_without_a_model_is_one_sentence(tmp_path, form):
    done = sdpn("export", form, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path} holds no model: ") and done.stderr.count("\n") == 1
