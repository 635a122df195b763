import subprocess
import sys

import torch

from sdpn.models.folder import read_model
from tests.models.three_d_speaker import EMBEDDING, checkpoint, state_dict


def sdpn(*arguments, cwd):
    code = "from sdpn.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)


def test_a_checkpoint_becomes_an_experiment_of_its_name(tmp_path):
    torch.save(checkpoint(state_dict()), tmp_path / "published.pth")
    done = sdpn("import", "3dspeaker", "published.pth", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "exp/published/model: ECAPA-TDNN, 16 channels, 20 mel bins, 12-dimensional embeddings, 0.02 million parameters "
        "(2 tensors of the projection head and prototypes left out)\n"
    )
    assert done.stderr == ""
    encoder, _ = read_model(tmp_path / "exp" / "published" / "model")
    assert encoder(torch.randn(1, 30, 20)).shape == (1, EMBEDDING)


def test_a_bare_state_dict_is_taken_with_a_warning(tmp_path):
    torch.save(state_dict(), tmp_path / "bare.pth")
    done = sdpn("import", "3dspeaker", "bare.pth", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "mine" / "weights.pt").exists()
    assert done.stderr.startswith("warning: bare.pth has no teacher and is taken for a network of SDPN or RDINO")


def test_what_cannot_be_used_is_one_sentence_and_status_1(tmp_path):
    tensors = state_dict()
    del tensors["fc.conv.bias"]
    torch.save(checkpoint(tensors), tmp_path / "partial.pth")
    done = sdpn("import", "3dspeaker", "partial.pth", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: partial.pth does not hold 3D-Speaker's ECAPA-TDNN as it is known here: missing 1 (fc.conv.bias)\n"
    )
