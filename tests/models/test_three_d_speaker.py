import argparse
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from sdpn.config import read
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.models.folder import find_model, read_model
from sdpn.models.three_d_speaker import import_checkpoint
from tests.models.three_d_speaker import ATTENTION, BINS, CHANNELS, EMBEDDING, checkpoint, embed, state_dict


@pytest.fixture
def save(tmp_path):
    """save(content) -> the path of a file of torch.save."""

    def save(content, **how):
        torch.save(content, tmp_path / "sdpn.pth", **how)
        return tmp_path / "sdpn.pth"

    return save


@pytest.mark.parametrize("global_context", [True, False])
def test_the_embedding_is_that_of_the_network_written_in_plain_torch(save, tmp_path, global_context):
    tensors = state_dict(global_context)
    import_checkpoint(save(checkpoint(tensors)), tmp_path / "model")
    encoder, config = read_model(tmp_path / "model")
    mel = torch.rand(3, BINS, 70).square() * torch.logspace(-3, 1, BINS)[:, None]
    with torch.inference_mode():
        expected = embed(tensors, mel, global_context)
        found = encoder((mel + 1e-6).log().transpose(1, 2))
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert config["network"] == {
        "network": "ecapa",
        "num_bins": BINS,
        "channels": CHANNELS,
        "embedding_size": EMBEDDING,
        "attention_channels": ATTENTION,
        "global_context": global_context,
        "pooling": "attentive",
        "padding": "reflect",
        "input_norm": "instance",
    }


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
@pytest.mark.parametrize("under_teacher", [True, False])
def test_names_with_any_prefix_are_the_same_network(save, tmp_path, prefix, under_teacher):
    named = {prefix + name: tensor for name, tensor in state_dict().items()}
    content = {"teacher": named} if under_teacher else named
    imported = import_checkpoint(save(content), tmp_path / "model")
    assert (imported.teacher, imported.left_out) == (under_teacher, 0)
    encoder, _ = read_model(tmp_path / "model")
    torch.testing.assert_close(encoder.stem.conv.weight, state_dict()["blocks.0.conv.conv.weight"], rtol=0, atol=0)


def test_the_projection_head_and_prototypes_are_left_out_and_counted(save, tmp_path):
    content = checkpoint(state_dict())
    content["teacher"]["module.prototypes"] = torch.zeros(5, 4)
    imported = import_checkpoint(save(content), tmp_path / "model")
    assert imported.left_out == 3


def test_the_features_are_those_of_conf_fbank_3dspeaker(save, tmp_path):
    import_checkpoint(save(checkpoint(state_dict())), tmp_path / "model")
    _, config = read_model(tmp_path / "model")
    recipe = read(Path(__file__).parents[2] / "conf" / "fbank_3dspeaker.yaml", FbankConfig)
    assert config["features"] == recipe.spectral() | {"num_mel_bins": BINS}
    assert FbankConfig.of_3dspeaker().spectral() == recipe.spectral()


def test_the_folder_has_a_card_and_is_found_by_its_experiment(save, tmp_path):
    import_checkpoint(save(checkpoint(state_dict())), tmp_path / "exp" / "sdpn" / "model")
    assert find_model(tmp_path / "exp" / "sdpn") == tmp_path / "exp" / "sdpn" / "model"
    card = (tmp_path / "exp" / "sdpn" / "model" / "README.md").read_text()
    assert "sdpn.pth" in card and "12-dimensional embedding" in card and "padding: reflect" in card
    assert sorted(path.name for path in (tmp_path / "exp" / "sdpn").iterdir()) == ["model"]


def test_weights_in_half_precision_and_views_become_float32_of_their_own(save, tmp_path):
    tensors = state_dict()
    tensors["fc.conv.bias"] = torch.zeros(1_000_000)[:EMBEDDING].half()
    import_checkpoint(save(checkpoint(tensors)), tmp_path / "model")
    assert (tmp_path / "model" / "weights.pt").stat().st_size < 300_000
    assert all(weight.dtype == torch.float32 for weight in read_model(tmp_path / "model")[0].parameters())


def test_counts_of_batches_may_be_missing(save, tmp_path):
    tensors = {name: tensor for name, tensor in state_dict().items() if not name.endswith("num_batches_tracked")}
    import_checkpoint(save(checkpoint(tensors)), tmp_path / "model")


def test_everything_wrong_with_the_tensors_is_one_sentence(save, tmp_path):
    tensors = state_dict()
    del tensors["mfa.conv.conv.bias"], tensors["asp_bn.norm.running_var"]
    tensors["blocks.4.tdnn1.conv.conv.bias"] = torch.zeros(3)
    tensors["blocks.2.se_block.conv1.conv.weight"] = torch.zeros(64, CHANNELS, 1)
    path = save(checkpoint(tensors))
    with pytest.raises(SdpnError) as error:
        import_checkpoint(path, tmp_path / "model")
    assert str(error.value) == (
        f"{path} does not hold 3D-Speaker's ECAPA-TDNN as it is known here: "
        "missing 2 (mfa.conv.conv.bias, asp_bn.norm.running_var); left over 1 (blocks.4.tdnn1.conv.conv.bias); "
        "of another shape 1 (blocks.2.se_block.conv1.conv.weight is 64 x 16 x 1 where 128 x 16 x 1 is expected)"
    )
    assert not (tmp_path / "model").exists()


def test_a_network_of_another_kind_is_told_by_the_names(save, tmp_path):
    with pytest.raises(SdpnError, match=r"missing 2\d\d \(blocks.0.conv.conv.weight, .*, \.\.\.\); left over 1 \(tdnn"):
        import_checkpoint(save({"tdnn.weight": torch.zeros(3)}), tmp_path / "model")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"student": {}}])
def test_a_file_without_tensors_is_refused(save, tmp_path, content):
    with pytest.raises(SdpnError, match="neither a teacher nor a state_dict"):
        import_checkpoint(save(content), tmp_path / "model")


def test_channels_that_the_scale_does_not_divide_are_refused(save, tmp_path):
    with pytest.raises(SdpnError, match="12 channels; expected a multiple of 8"):
        import_checkpoint(save({"blocks.0.conv.conv.weight": torch.zeros(12, BINS, 5)}), tmp_path / "model")


def test_weights_that_are_not_finite_are_refused(save, tmp_path):
    tensors = state_dict()
    tensors["fc.conv.weight"][0, 0, 0] = float("nan")
    with pytest.raises(SdpnError, match="not finite"):
        import_checkpoint(save(checkpoint(tensors)), tmp_path / "model")


@pytest.mark.parametrize(
    "change", [torch.Tensor.to_sparse, torch.Tensor.int, lambda tensor: tensor.to(torch.complex64)]
)
def test_tensors_that_are_not_plain_floating_point_numbers_are_refused(save, tmp_path, change):
    tensors = {f"backbone.{name}": tensor for name, tensor in state_dict().items()}
    tensors["backbone.fc.conv.weight"] = change(tensors["backbone.fc.conv.weight"])
    with pytest.raises(SdpnError, match=r"are not plain floating-point numbers: 1 \(fc\.conv\.weight\)"):
        import_checkpoint(save({"teacher": tensors}), tmp_path / "model")


class Mischief:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_not_opened(save, tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    path = save(checkpoint(state_dict(), args=Mischief()), _use_new_zipfile_serialization=zipped)
    with pytest.raises(SdpnError, match=r"asks for posix\.system, .* could run any code"):
        import_checkpoint(path, tmp_path / "model")
    assert not (tmp_path / "executed").exists() and not (tmp_path / "model").exists()


def test_what_a_training_saves_beside_tensors_is_read_as_plain_data(save, tmp_path):
    """The learning rate of train_sdpn.py is an element of a NumPy array, and so stands in the optimizer's state."""
    optimizer = {"param_groups": [{"lr": np.float64(0.3), "weight_decay": np.float32(5e-5)}]}
    path = save(checkpoint(state_dict(), optimizer=optimizer, args=argparse.Namespace(gpu=["0"])))
    import_checkpoint(path, tmp_path / "model")
    older = tmp_path / "numpy1.pth"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(older, "w") as again:
        for name in whole.namelist():
            again.writestr(name, whole.read(name).replace(b"numpy._core.", b"numpy.core."))
        assert b"numpy.core.multiarray" in again.read("sdpn/data.pkl")
    import_checkpoint(older, tmp_path / "again")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_a_damaged_file_is_a_sentence(tmp_path, content):
    (tmp_path / "sdpn.pth").write_bytes(content)
    with pytest.raises(SdpnError, match=r"no file of torch\.save, or a damaged one"):
        import_checkpoint(tmp_path / "sdpn.pth", tmp_path / "model")


def test_a_file_that_is_cut_off_is_a_sentence(save, tmp_path):
    path = save(checkpoint(state_dict()))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SdpnError, match="damaged"):
        import_checkpoint(path, tmp_path / "model")


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(SdpnError, match="there is no such file"):
        import_checkpoint(tmp_path / "sdpn.pth", tmp_path / "model")


def test_nothing_is_overwritten(save, tmp_path):
    path = save(checkpoint(state_dict()))
    import_checkpoint(path, tmp_path / "model")
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "model").iterdir()}
    with pytest.raises(SdpnError, match=r"model is there already: remove it, or name another folder with --out"):
        import_checkpoint(path, tmp_path / "model")
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "model").iterdir()} == before


def test_a_folder_is_there_as_a_whole_or_not_at_all(save, tmp_path, monkeypatch):
    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sdpn.models.three_d_speaker._card", fails)
    with pytest.raises(KeyboardInterrupt):
        import_checkpoint(save(checkpoint(state_dict())), tmp_path / "exp" / "model")
    assert list((tmp_path / "exp").iterdir()) == []


def test_the_configuration_is_plain_yaml(save, tmp_path):
    import_checkpoint(save(checkpoint(state_dict())), tmp_path / "model")
    assert set(yaml.safe_load((tmp_path / "model" / "config.yaml").read_text())) == {"network", "features"}
