import pytest
import torch

from sdpn.training.config import TrainConfig
from sdpn.training.indicators import Usage
from sdpn.training.log import collapse, usage_window

HEALTHY = {
    "step": 500,
    "prototypes_in_use": 900.0,
    "effective_rank": 30.0,
    "neighbour_distance": 0.8,
    "target_entropy": 4.0,
}


def test_healthy_figures_are_no_collapse():
    assert collapse(HEALTHY, TrainConfig(), epoch_steps=2800) is None


@pytest.mark.parametrize(
    ("figure", "value", "words"),
    [
        ("prototypes_in_use", 3.0, "3 of 1024 prototypes in use"),
        ("effective_rank", 1.2, "effective rank 1.20"),
        ("neighbour_distance", 0.001, "0.001 from their nearest neighbour"),
        ("target_entropy", 6.92, "targets that choose no prototype, entropy 6.92 of at most 6.93"),
    ],
)
def test_a_figure_past_its_threshold_is_named(figure, value, words):
    assert words in collapse(HEALTHY | {figure: value}, TrainConfig(), epoch_steps=2800)


def test_a_few_utterances_cannot_use_many_prototypes():
    config = TrainConfig(batch_size=2)
    first = HEALTHY | {"step": 1, "prototypes_in_use": 2.0, "effective_rank": 1.9}
    assert collapse(first, config, epoch_steps=5000) is None
    assert "prototypes in use" in collapse(first | {"step": 1024}, config, epoch_steps=5000)


def test_targets_are_judged_once_the_window_is_full():
    config = TrainConfig(batch_size=2)
    undecided = HEALTHY | {"step": 1, "target_entropy": 6.93, "effective_rank": 1.9}
    assert collapse(undecided, config, epoch_steps=5000) is None
    assert "entropy 6.93" in collapse(undecided | {"step": 1024}, config, epoch_steps=5000)
    assert collapse(undecided | {"step": 1024}, TrainConfig(batch_size=2, max_target_entropy=2), 5000) is None


def test_prototypes_are_counted_over_two_utterances_to_each_but_no_more_than_half_an_epoch():
    assert usage_window(TrainConfig(batch_size=384, prototypes=1024), epoch_steps=2800) == 2048
    assert usage_window(TrainConfig(batch_size=384, prototypes=1024), epoch_steps=8) == 4 * 384
    assert usage_window(TrainConfig(batch_size=384, prototypes=1024), epoch_steps=1) == 384
    assert usage_window(TrainConfig(batch_size=384, teacher_views=2), epoch_steps=2) == 2 * 384


def test_a_network_that_collapses_before_the_middle_of_an_epoch_is_recognised_at_its_end():
    config, epoch_steps = TrainConfig(batch_size=32, prototypes=256), 56
    usage = Usage(config.prototypes, usage_window(config, epoch_steps), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for step in range(1, epoch_steps + 1):
        logits = torch.randn(config.batch_size, config.prototypes, generator=generator)
        logits[:, 7] += 100 * (step > epoch_steps // 2)
        usage.update(logits.softmax(dim=1))
        line = HEALTHY | {"step": step, "prototypes_in_use": float(usage.in_use())}
        if step <= epoch_steps // 2:
            assert collapse(line, config, epoch_steps) is None
    assert collapse(line, config, epoch_steps) == "1 of 256 prototypes in use"
