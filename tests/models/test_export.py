import importlib.util
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.models import export
from sdpn.models.folder import write_model
from sdpn.models.registry import build_encoder

BINS = 12
SIZES = {"num_bins": BINS, "channels": 8, "embedding_size": 6, "attention_channels": 4}
NETWORKS = {
    "ecapa": {"network": "ecapa", "padding": "reflect", **SIZES},
    "resnet34": {"network": "resnet34", "pooling": "attentive", **SIZES},
    "xvector": {"network": "xvector", "input_norm": "level", "input_mean_share": 0.2, **SIZES},
}
BATCHES = [[50], [9], [48, 11, 30], [200, 64], [5, 33, 1, 20, 33, 2, 7, 8, 30, 9, 12, 13, 14, 15, 16, 17, 18]]


def trained(settings):
    """In evaluation mode, with batch norms that have seen something."""
    torch.manual_seed(0)
    encoder = build_encoder(**settings).train()
    if settings.get("input_norm") == "level":
        encoder.input_norm.set_statistics(np.linspace(-1, 1, BINS), np.linspace(1, 3, BINS))
    for _ in range(3):
        encoder(2 * torch.randn(4, 50, BINS) - 3)
    return encoder.eval()


def model_folder(directory, settings):
    """A model folder, and its encoder."""
    encoder = trained(settings)
    write_model(directory, encoder, settings, FbankConfig(num_mel_bins=BINS, sampling_rate=8000).spectral())
    return directory, encoder


@pytest.fixture(scope="module", params=NETWORKS)
def traced(request):
    """An encoder and its graph."""
    encoder = trained(NETWORKS[request.param])
    return encoder, export.trace(encoder, BINS)


@pytest.fixture(scope="module")
def runtime(traced):
    """The graph as ONNX, computed by ONNX Runtime."""
    return export.onnx_encoder(export.to_onnx(traced[1], {}))


def check(encoder, exported):
    for lengths in BATCHES:
        features = torch.randn(len(lengths), max(lengths), BINS)
        with torch.inference_mode():
            alone = [encoder(row[:length].unsqueeze(0)) for row, length in zip(features, lengths, strict=True)]
            found = exported(features, torch.tensor(lengths))
        torch.testing.assert_close(found, torch.cat(alone), rtol=0, atol=1e-5)


def test_every_network_is_tried():
    from sdpn.models.registry import ENCODERS

    assert set(NETWORKS) == set(ENCODERS)


def test_the_graph_gives_of_any_padded_batch_what_the_encoder_gives_one_by_one(traced):
    encoder, program = traced
    check(encoder, program.module())


def test_onnx_runtime_does_so_too(traced, runtime):
    check(traced[0], runtime)


def test_onnx_takes_fewer_frames_than_the_graph(traced, runtime):
    features = torch.randn(2, 3, BINS)
    with torch.inference_mode():
        expected = traced[0](features, torch.tensor([3, 2]))
    torch.testing.assert_close(runtime(features, torch.tensor([3, 2])), expected, rtol=0, atol=1e-5)


def test_an_onnx_file_says_what_it_takes_and_gives(tmp_path):
    directory, _ = model_folder(tmp_path / "model", NETWORKS["xvector"])
    assert export.export_onnx(directory, tmp_path / "encoder.onnx") < 1e-5
    whole = onnx.load(tmp_path / "encoder.onnx")
    onnx.checker.check_model(whole, full_check=True)

    def described(values):
        return {
            value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
            for value in values
        }

    assert described(whole.graph.input) == {"features": ["batch", "frames", BINS], "lengths": ["batch"]}
    assert described(whole.graph.output) == {"embedding": ["batch", 6]}
    properties = {entry.key: entry.value for entry in whole.metadata_props}
    assert properties["sampling_rate"] == "8000"
    assert json.loads(properties["features"]) == FbankConfig(num_mel_bins=BINS, sampling_rate=8000).spectral()
    assert json.loads(properties["network"]) == NETWORKS["xvector"]
    assert b"site-packages" not in (tmp_path / "encoder.onnx").read_bytes()


def test_a_torch_file_loads_where_this_package_is_not(tmp_path):
    directory, encoder = model_folder(tmp_path / "model", NETWORKS["xvector"])
    export.export_torch(directory, tmp_path / "encoder.pt2")
    features, lengths = torch.randn(3, 40, BINS), torch.tensor([40, 12, 25])
    torch.save([features, lengths], tmp_path / "input.pt")
    code = """
import json, sys
sys.modules["sdpn"] = None  # importing it is an error
import torch
described = {"sdpn.json": ""}
encoder = torch.export.load("encoder.pt2", extra_files=described).module()
torch.save(encoder(*torch.load("input.pt")), "output.pt")
print(json.loads(described["sdpn.json"])["sampling_rate"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "8000\n", done.stderr
    with torch.inference_mode():
        expected = encoder(features, lengths)
    torch.testing.assert_close(torch.load(tmp_path / "output.pt"), expected, rtol=0, atol=1e-5)
    assert b"site-packages" not in (tmp_path / "encoder.pt2").read_bytes()


def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch):
    directory, _ = model_folder(tmp_path / "model", NETWORKS["xvector"])
    monkeypatch.setattr(export, "TOLERANCE", 0.0)
    with pytest.raises(RuntimeError, match="differs by"):
        export.export_torch(directory, tmp_path / "encoder.pt2")
    assert not (tmp_path / "encoder.pt2").exists()


def test_without_onnx_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else there(name))
    with pytest.raises(SdpnError, match="needs onnx and onnxscript and onnxruntime: run pip install onnx onnxscript"):
        export.export_onnx(tmp_path, tmp_path / "encoder.onnx")


def test_statistics_beside_the_embedding_are_those_of_the_recipe(tmp_path):
    from sdpn.extraction.extractor import Held, fbank_statistics

    directory, encoder = model_folder(tmp_path / "model", NETWORKS["xvector"])
    export.export_onnx(directory, tmp_path / "both.onnx", statistics=True)
    exported = export.onnx_encoder((tmp_path / "both.onnx").read_bytes())
    features, lengths = export.noise(BINS, [40, 25])
    found = exported(features, lengths).numpy()
    matrices = [row[:length].numpy() for row, length in zip(features, lengths, strict=True)]
    with torch.inference_mode():
        expected = encoder(features, lengths).numpy()
    assert found.shape == (2, 6 + 2 * BINS)
    assert abs(found[:, :6] - expected).max() < 1e-4
    assert abs(found[:, 6:] - fbank_statistics(Held(matrices), range(2))).max() < 1e-4
