import numpy as np
import pytest
import torch

from sdpn.models.folder import read_model, write_model
from sdpn.models.input_norm import INPUT_NORMS, InputNorm, level_statistics
from sdpn.models.registry import ENCODERS, build_encoder

LENGTHS = [40, 17, 1]


def drawn(seed=0, frames=40, bins=7):
    """(3, frames, bins) float64: each utterance with a spectrum and a level of its own."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((3, frames, bins)) * random.uniform(0.5, 2, bins)
    return x + random.uniform(-9, 2, (3, 1, bins)) + random.uniform(-5, 5, (3, 1, 1))


def by_hand(x, kind, mean, deviation, share):
    """One utterance (frames, bins), bin by bin, as the docstring of InputNorm defines it."""
    level = sum(x[:, b].mean() for b in range(x.shape[1])) / x.shape[1]
    y = np.empty_like(x)
    for b in range(x.shape[1]):
        own = x[:, b].mean()
        if kind == "instance":
            y[:, b] = (x[:, b] - own) / np.sqrt(x[:, b].var() + 1e-5)
        elif kind == "mean":
            y[:, b] = x[:, b] - own
        elif kind == "level":
            y[:, b] = (x[:, b] - ((1 - share) * (level + mean[b]) + share * own)) / deviation[b]
        else:
            y[:, b] = x[:, b]
    return y


@pytest.mark.parametrize(("kind", "share"), [*((kind, 0.0) for kind in INPUT_NORMS), ("level", 0.3), ("level", 1.0)])
@pytest.mark.parametrize("padded", [False, True])
def test_every_kind_is_what_its_definition_says_with_padding_and_without(kind, share, padded):
    random = np.random.default_rng(1)
    mean, deviation = random.standard_normal(7), random.uniform(0.5, 3, 7)
    norm = InputNorm(7, kind, share).double()
    if kind == "level":
        norm.set_statistics(mean, deviation)
    x, lengths = drawn(), LENGTHS if padded else [40] * 3
    mask = torch.tensor([[[float(i < length)] for i in range(40)] for length in lengths], dtype=torch.float64)
    found = norm(torch.from_numpy(x), mask if padded else None).numpy()
    for row, utterance, length in zip(found, x, lengths, strict=True):
        expected = by_hand(utterance[:length], kind, mean, deviation, share)
        np.testing.assert_allclose(row[:length], expected, rtol=0, atol=1e-9)
        assert not row[length:].any()


def test_level_does_not_notice_a_gain_and_notices_a_spectrum():
    norm, x = InputNorm(7, "level").double(), torch.from_numpy(drawn())
    torch.testing.assert_close(norm(x + 3.7), norm(x))
    coloured = norm(x + torch.linspace(-1, 1, 7, dtype=torch.float64))
    assert (coloured - norm(x)).abs().max() > 0.9


def test_the_statistics_are_those_of_all_frames_once_each_utterances_level_is_removed():
    utterances = [one.astype(np.float32) for one in (*drawn(2), *drawn(3, frames=11))]
    mean, deviation = level_statistics(iter(utterances))
    frames = np.concatenate([one - one.astype(np.float64).mean() for one in utterances])
    np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(deviation, frames.std(axis=0), rtol=0, atol=1e-12)


def test_a_training_set_standardized_by_its_statistics_has_bins_of_mean_0_and_deviation_1():
    utterances = list(drawn(2))
    norm = InputNorm(7, "level").double()
    norm.set_statistics(*level_statistics(utterances))
    frames = norm(torch.from_numpy(np.stack(utterances))).flatten(0, 1)
    torch.testing.assert_close(frames.mean(dim=0), torch.zeros(7).double(), rtol=0, atol=1e-6)  # kept in float32
    torch.testing.assert_close(frames.std(dim=0, correction=0), torch.ones(7).double(), rtol=0, atol=1e-6)


def test_a_bin_that_never_changes_is_not_divided_by_zero():
    mean, deviation = level_statistics([np.full((9, 3), 2.0)])
    assert (mean == 0).all() and (deviation > 0).all()


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_normalizes_its_input_and_nothing_else_differs(name):
    sizes = {"num_bins": 20, "channels": 8, "embedding_size": 6, "attention_channels": 4}
    torch.manual_seed(0)
    level = build_encoder(name, **sizes, input_norm="level", input_mean_share=0.2).eval()
    level.input_norm.set_statistics(np.linspace(-1, 1, 20), np.linspace(1, 3, 20))
    bare = build_encoder(name, **sizes, input_norm="none").eval()
    missing, left_over = bare.load_state_dict(level.state_dict(), strict=False)
    assert (missing, left_over) == ([], ["input_norm.mean", "input_norm.deviation"])
    features = torch.randn(2, 30, 20)
    with torch.inference_mode():
        torch.testing.assert_close(level(features), bare(level.input_norm(features)), rtol=0, atol=0)


def test_the_statistics_lie_in_the_model_folder(tmp_path):
    network = {"network": "xvector", "num_bins": 7, "channels": 8, "embedding_size": 4, "input_norm": "level"}
    encoder = build_encoder(**network).eval()
    encoder.input_norm.set_statistics(np.arange(7.0), np.arange(1.0, 8.0))
    write_model(tmp_path, encoder, network, {"num_mel_bins": 7})
    again, _ = read_model(tmp_path)
    assert again.input_norm.mean.tolist() == list(range(7))
    features = torch.randn(2, 20, 7)
    torch.testing.assert_close(again(features), encoder(features), rtol=0, atol=0)


def test_a_model_folder_that_does_not_say_how_its_input_is_normalized_is_of_the_older_kind(tmp_path):
    network = {"network": "xvector", "num_bins": 7, "channels": 8, "embedding_size": 4}
    write_model(tmp_path, build_encoder(**network), network, {"num_mel_bins": 7})
    encoder, _ = read_model(tmp_path)
    assert encoder.input_norm.kind == "instance"
    assert not [name for name in encoder.state_dict() if name.startswith("input_norm")]
