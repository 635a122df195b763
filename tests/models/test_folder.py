import pickle
import subprocess

import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.models.folder import CHECKSUMS, fbank_config, find_model, read_model, write_model
from sdpn.models.registry import build_encoder

NETWORK = {"network": "ecapa", "num_bins": 10, "channels": 8, "embedding_size": 4}


def test_a_model_reads_back_as_written_in_evaluation_mode(tmp_path):
    encoder = build_encoder(**NETWORK)
    encoder(torch.randn(3, 20, 10))
    write_model(tmp_path, encoder, NETWORK, {"num_mel_bins": 10})
    again, config = read_model(tmp_path)
    assert config == {"network": NETWORK, "features": {"num_mel_bins": 10}}
    assert not again.training
    features = torch.randn(2, 30, 10)
    torch.testing.assert_close(again(features), encoder.eval()(features), rtol=0, atol=0)


def test_the_same_weights_are_the_same_bytes(tmp_path):
    encoder = build_encoder(**NETWORK)
    for name in ("a", "b"):
        write_model(tmp_path / name, encoder, NETWORK, {})
    assert (tmp_path / "a" / "weights.pt").read_bytes() == (tmp_path / "b" / "weights.pt").read_bytes()


def test_a_folder_without_a_model_says_which_stage_makes_it(tmp_path):
    with pytest.raises(SdpnError, match="run stage 4 first"):
        read_model(tmp_path)


def test_a_model_is_found_by_its_experiment_and_by_its_folder(tmp_path):
    write_model(tmp_path / "exp" / "model", build_encoder(**NETWORK), NETWORK, {})
    assert find_model(tmp_path / "exp") == tmp_path / "exp" / "model"
    assert find_model(str(tmp_path / "exp" / "model")) == tmp_path / "exp" / "model"


def test_where_no_model_is_the_sentence_names_both_places(tmp_path):
    (tmp_path / "config.yaml").write_text("epochs: 3\n")  # an experiment has one, too
    with pytest.raises(SdpnError, match=f"holds no model: .* nor in {tmp_path / 'model'}"):
        find_model(tmp_path)
    with pytest.raises(SdpnError, match="does not exist: name an experiment"):
        find_model(tmp_path / "nowhere")


def test_a_cut_off_file_is_a_sentence(tmp_path):
    weights, *_ = write_model(tmp_path, build_encoder(**NETWORK), NETWORK, {})
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SdpnError, match=r"is damaged: weights\.pt is not what SHA256SUMS says: run stage 4"):
        read_model(tmp_path)
    (tmp_path / CHECKSUMS).unlink()
    with pytest.raises(SdpnError, match="no readable model"):
        read_model(tmp_path)


@pytest.mark.parametrize("name", ["weights.pt", "config.yaml", CHECKSUMS])
def test_a_flipped_bit_is_never_taken_for_a_weight(tmp_path, name):
    write_model(tmp_path, build_encoder(**NETWORK), NETWORK, {})
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SdpnError, match="is damaged"):
        read_model(tmp_path)


def test_the_checksums_are_those_of_sha256sum(tmp_path):
    write_model(tmp_path, build_encoder(**NETWORK), NETWORK, {})
    subprocess.run(["sha256sum", "--check", "--status", CHECKSUMS], cwd=tmp_path, check=True)


class Mischief:
    def __reduce__(self):
        return (open, ("executed", "w"))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save({"stem": Mischief()}, path),
        lambda path: path.write_bytes(pickle.dumps(Mischief(), protocol=2)),
    ],
)
def test_weights_that_ask_for_more_than_tensors_are_refused_and_not_executed(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    weights, _, checksums = write_model(tmp_path, build_encoder(**NETWORK), NETWORK, {})
    write(weights)
    checksums.unlink()
    with pytest.raises(
        SdpnError, match=r"it asks for \w+\.open, which is more than tensors, numbers and text"
    ) as caught:
        read_model(tmp_path)
    assert "weights_only" not in str(caught.value)  # torch's sentence goes on with how to run it
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['touch executed']", "!!python/name:os.system"])
def test_a_configuration_that_asks_for_more_than_plain_data_is_refused_and_not_executed(tmp_path, monkeypatch, tag):
    monkeypatch.chdir(tmp_path)
    _, config, checksums = write_model(tmp_path, build_encoder(**NETWORK), NETWORK, {})
    config.write_text(f"network: {tag}\n")
    checksums.unlink()
    with pytest.raises(SdpnError, match="no readable model"):
        read_model(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_weights_that_are_not_finite_are_refused(tmp_path):
    encoder = build_encoder(**NETWORK)
    encoder.embedding.weight.data[0, 0] = float("nan")
    write_model(tmp_path, encoder, NETWORK, {})
    with pytest.raises(SdpnError, match="weights that are not finite"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (None, "expected settings below 'features'"),
        ([1], "expected settings below 'features'"),
        ({"windows": 3}, "unknown key 'windows'"),
        ({"sampling_rate": 10**9}, "'sampling_rate' is 1000000000; expected .* at most 768000"),
        ({"frame_shift": 0}, "'frame_shift' is 0"),
        ({"num_mel_bins": 40}, "its features have 40 bins, and its network takes 10"),
    ],
)
def test_features_that_cannot_be_the_networks_are_a_sentence(tmp_path, features, sentence):
    with pytest.raises(SdpnError, match=f"{tmp_path}/config.yaml: .*{sentence}"):
        fbank_config(tmp_path, {"network": NETWORK, "features": features})
    assert fbank_config(tmp_path, {"network": NETWORK, "features": {"num_mel_bins": 10}}).num_mel_bins == 10
