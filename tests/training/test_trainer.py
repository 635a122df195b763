import copy

import numpy as np
import pytest
import torch

from sdpn.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def start(tiny):
    """start(**overrides) -> a float64 Trainer and a batch of its views."""

    def make(**overrides):
        config = tiny(**overrides)
        trainer = Trainer(config, num_bins=20, steps_per_epoch=3, device=CPU)
        for module in (trainer.student, trainer.teacher, trainer.prototypes):
            module.double()
        torch.manual_seed(5)
        teacher = torch.randn(config.teacher_views, config.batch_size, config.teacher_frames, 20).double()
        student = torch.randn(config.student_views, config.batch_size, config.student_frames, 20).double()
        return trainer, teacher, student

    return make


def weights_of(trainer):
    return [*trainer.student.parameters(), *trainer.prototypes.parameters()]


def reference_loss(trainer, teacher_views, student_views):
    """The loss of a step from the formulas, on probabilities, one utterance at a time."""
    config = trainer.config
    C = trainer.prototypes.weight / trainer.prototypes.weight.norm(dim=1, keepdim=True)
    K, B, V = len(C), config.batch_size, config.student_views
    with torch.no_grad():
        _, z = trainer.teacher(teacher_views[0])
        q = torch.exp(z @ C.T / (config.student_temperature * config.teacher_sharpening))
        q = q / q.sum(dim=1, keepdim=True)
        for _ in range(config.sinkhorn_iterations):
            q = q / q.sum(dim=0, keepdim=True) * B / K
            q = q / q.sum(dim=1, keepdim=True)
    embeddings, z_s = trainer.student(student_views.reshape(V * B, *student_views.shape[2:]))
    p = torch.exp(z_s @ C.T / config.student_temperature)
    p = (p / p.sum(dim=1, keepdim=True)).reshape(V, B, K)
    cross_entropy = sum(-(q[i] * p[v, i].log()).sum() for v in range(V) for i in range(B)) / (V * B)
    mean = p.mean(dim=(0, 1))
    mean_entropy = np.log(K) + (mean * mean.log()).sum()
    points = (embeddings / embeddings.norm(dim=1, keepdim=True)).reshape(V, B, -1)
    diversity = 0
    for view in points:
        for i in range(B):
            diversity = (
                diversity - torch.stack([(view[i] - view[j]).norm() for j in range(B) if j != i]).min().log() / B
            )
    dimension = 0
    for matrix in (z_s, z):
        n = matrix.norm(dim=0)
        dimension = dimension + torch.log(torch.linalg.matrix_norm(matrix.T @ matrix / torch.outer(n, n)))
    return (
        cross_entropy
        + config.mean_entropy_weight * mean_entropy
        + config.diversity_weight * diversity
        + config.dimension_weight * dimension
    )


def test_a_step_is_the_formulas(start):
    """Loss, clipped SGD with momentum and weight decay, and the teacher's average, over two steps."""
    trainer, teacher_views, student_views = start(dimension_weight=0.3, clip_norm=0.7, weight_decay=0.01)
    config = trainer.config
    copied = copy.deepcopy(trainer)
    velocity = None
    for step in range(2):
        loss = reference_loss(copied, teacher_views, student_views)
        weights = weights_of(copied)
        gradients = torch.autograd.grad(loss, weights)
        norm = np.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        assert norm > config.clip_norm
        decays = [config.weight_decay * (w.ndim > 1 and w is not copied.prototypes.weight) for w in weights]
        steps = [
            g * config.clip_norm / norm + d * w.detach() for g, d, w in zip(gradients, decays, weights, strict=True)
        ]
        velocity = steps if velocity is None else [0.9 * v + s for v, s in zip(velocity, steps, strict=True)]
        with torch.no_grad():
            for weight, change in zip(weights, velocity, strict=True):
                weight -= 0.1 * (step + 1) / 3 * change  # the warm-up is 3 steps, the peak 0.1
            m = 1 - 0.1 * 0.5 * (1 + np.cos(np.pi * step / 11))
            for t, s in zip(copied.teacher.parameters(), copied.student.parameters(), strict=True):
                t.copy_(m * t + (1 - m) * s)

        outcome = trainer.step(step, teacher_views, student_views)
        np.testing.assert_allclose(outcome["terms"]["loss"], loss.detach(), rtol=1e-7)
        np.testing.assert_allclose(outcome["terms"]["gradient_norm"], norm, rtol=1e-6)
    for found, expected in zip(weights_of(trainer), weights_of(copied), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    for found, expected in zip(trainer.teacher.parameters(), copied.teacher.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_micro_batches_give_the_loss_and_gradients_of_the_whole_step(start):
    """With batch norm in evaluation mode, since otherwise each micro-batch has statistics of its own."""
    gradients, losses = [], []
    for accumulate in (1, 3):
        trainer, teacher_views, student_views = start(accumulate=accumulate, dimension_weight=0.1)
        trainer.student.eval()
        trainer.teacher.eval()
        outcome = trainer.step(0, teacher_views, student_views)
        losses.append(float(outcome["terms"]["loss"]))
        gradients.append([weight.grad.clone() for weight in weights_of(trainer)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)
    for whole, pieces in zip(*gradients, strict=True):
        torch.testing.assert_close(pieces, whole, rtol=1e-6, atol=1e-9)


def test_micro_batches_count_once_in_the_running_statistics(start):
    trainer, teacher_views, student_views = start(accumulate=3)
    norm = trainer.student.head[1]
    trainer.step(0, teacher_views, student_views)
    untouched = 0.9**3  # the share of the initial variance 1 that three micro-batches leave
    assert norm.running_var.mean() > untouched


def test_several_teacher_views_give_one_target(start):
    trainer, teacher_views, student_views = start(teacher_views=2)
    outcome = trainer.step(0, teacher_views, student_views)
    assert outcome["targets"].shape == (6, 12)
    torch.testing.assert_close(outcome["targets"].sum(dim=1), torch.ones(6).double())


def test_a_trainer_goes_on_from_its_state(start):
    first, teacher_views, student_views = start()
    first.step(0, teacher_views, student_views)
    second, _, _ = start()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for trainer in (first, second):
        trainer.step(1, teacher_views, student_views)
    for found, expected in zip(weights_of(second), weights_of(first), strict=True):
        assert torch.equal(found, expected)


def test_a_loss_with_weight_zero_is_left_out(start):
    trainer, teacher_views, student_views = start(diversity_weight=0.0, mean_entropy_weight=0.0)
    terms = trainer.step(0, teacher_views, student_views)["terms"]
    assert set(terms) == {"loss", "assignment_loss", "gradient_norm"}
    assert terms["loss"] == terms["assignment_loss"]


def test_equal_seeds_begin_with_equal_weights(tiny):
    first, second, other = (Trainer(tiny(seed=seed), 20, 3, CPU) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(weights_of(first), weights_of(second), strict=True))
    assert not torch.equal(first.prototypes.weight, other.prototypes.weight)
