import copy

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sdpn.training.descent import use_bfloat16
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


class Waiting(TorchDispatchMode):
    """Notes the operations, those of the backward pass included, whose result or its size a CPU must know."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim")

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        places = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_mask = any(place is not None and place.dtype in (torch.bool, torch.uint8) for place in places)
        if name in self.NAMES or by_mask:
            self.operations.append(name)
        return function(*args, **(kwargs or {}))


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


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def loss_in_numpy(config, embeddings, points, teacher_points, prototypes):
    """The loss of a step in numpy and float64, from the networks' outputs (views, batch, ...)."""
    C = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
    B, K = embeddings.shape[1], len(C)
    q = softmax(teacher_points[0] @ C.T / (config.student_temperature * config.teacher_sharpening))
    for _ in range(config.sinkhorn_iterations):
        q *= (B / K) / q.sum(axis=0, keepdims=True)
        q /= q.sum(axis=1, keepdims=True)
    p = softmax(points @ C.T / config.student_temperature)
    cross_entropy = -(q * np.log(p)).sum(axis=2).mean()
    mean = p.mean(axis=(0, 1))
    mean_entropy = np.log(K) + (mean * np.log(mean)).sum()
    diversity = 0.0
    for view in embeddings / np.linalg.norm(embeddings, axis=2, keepdims=True):
        distances = np.linalg.norm(view[:, None] - view[None], axis=2) + 10 * np.eye(B)
        diversity -= np.log(distances.min(axis=1)).mean()
    dimension = 0.0
    for matrix in (points.reshape(-1, points.shape[2]), teacher_points[0]):
        n = np.linalg.norm(matrix, axis=0)
        dimension += np.log(np.linalg.norm(matrix.T @ matrix / np.outer(n, n)))
    return (
        cross_entropy
        + config.mean_entropy_weight * mean_entropy
        + config.diversity_weight * diversity
        + config.dimension_weight * dimension
    )


def test_the_loss_of_a_step_is_the_formulas_in_numpy(start):
    trainer, teacher_views, student_views = start(dimension_weight=0.3, mean_entropy_weight=0.7)
    copied = copy.deepcopy(trainer)
    views, batch = student_views.shape[:2]
    with torch.no_grad():
        teacher_points = copied.teacher(teacher_views[0])[1].numpy()[None]
        embeddings, points = (
            output.unflatten(0, (views, batch)).numpy() for output in copied.student(student_views.flatten(0, 1))
        )
    expected = loss_in_numpy(
        trainer.config, embeddings, points, teacher_points, copied.prototypes.weight.detach().numpy()
    )
    found = trainer.step(0, teacher_views, student_views)["terms"]["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_the_gradient_of_the_loss_is_that_of_finite_differences(start):
    trainer, _, _ = start(dimension_weight=0.3)
    torch.manual_seed(2)
    embeddings, points = (torch.randn(2, 6, size).double().requires_grad_() for size in (8, 6))
    prototypes = torch.randn(12, 6).double().requires_grad_()
    teacher_points = torch.nn.functional.normalize(torch.randn(1, 6, 6).double(), dim=2)
    targets = torch.softmax(torch.randn(6, 12).double(), dim=1)

    def loss(embeddings, points, prototypes):
        points = torch.nn.functional.normalize(points, dim=2)
        scores = points @ torch.nn.functional.normalize(prototypes, dim=1).T
        return trainer._compute_losses(embeddings, points, scores, teacher_points, targets)[0]["loss"]

    assert torch.autograd.gradcheck(loss, (embeddings, points, prototypes))


def test_the_reference_clips_each_tensor_alone_and_the_prototypes_not_at_all(start):
    free, teacher_views, student_views = start(clip_norm=1e6)
    clipped, _, _ = start(clip="tensor", clip_norm=0.05)
    outcomes = [trainer.step(0, teacher_views, student_views) for trainer in (free, clipped)]
    np.testing.assert_allclose(*(outcome["terms"]["gradient_norm"] for outcome in outcomes), rtol=1e-6)
    for whole, short in zip(free.student.parameters(), clipped.student.parameters(), strict=True):
        norm = float(whole.grad.norm())
        torch.testing.assert_close(short.grad, whole.grad * min(1, 0.05 / (norm + 1e-6)))
    torch.testing.assert_close(clipped.prototypes.weight.grad, free.prototypes.weight.grad)


def test_half_precision_gives_nearly_the_same_step(tiny):
    """torch's autocast on the CPU in place of a GPU's; sums, losses and weights stay in single precision."""
    losses = []
    for precision in ("float32", "bfloat16"):
        config = tiny(precision=precision)
        trainer = Trainer(config, num_bins=20, steps_per_epoch=3, device=CPU)
        torch.manual_seed(5)
        teacher_views, student_views = torch.randn(1, 6, 24, 20), torch.randn(2, 6, 12, 20)
        outcome = trainer.step(0, teacher_views, student_views)
        assert {weight.dtype for weight in weights_of(trainer)} == {torch.float32}
        assert outcome["log_p"].dtype == outcome["embeddings"].dtype == torch.float32
        losses.append(float(outcome["terms"]["loss"]))
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.1)


def test_on_a_cpu_the_precision_is_single_unless_asked_for():
    assert not use_bfloat16("auto", CPU)
    assert use_bfloat16("bfloat16", CPU)


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


@pytest.mark.parametrize(
    "settings",
    [{}, {"accumulate": 3}, {"clip": "tensor", "padding": "reflect"}, {"network": "resnet34"}, {"network": "xvector"}],
    ids=lambda settings: "-".join(map(str, settings.values())) or "usual",
)
def test_a_step_asks_for_no_number(settings, tiny):
    """On a GPU each would wait for all that was asked of it before."""
    config = tiny(dimension_weight=0.1, **settings)
    trainer = Trainer(config, num_bins=20, steps_per_epoch=3, device=CPU)
    teacher_views, student_views = torch.randn(1, 6, 24, 20), torch.randn(2, 6, 12, 20)
    with Waiting() as seen:
        for step in range(2):
            outcome = trainer.step(step, teacher_views, student_views)
        assert seen.operations == []
        float(outcome["terms"]["loss"])
        assert seen.operations == ["_local_scalar_dense"]


def test_a_loss_with_weight_zero_is_left_out(start):
    trainer, teacher_views, student_views = start(diversity_weight=0.0, mean_entropy_weight=0.0)
    terms = trainer.step(0, teacher_views, student_views)["terms"]
    assert set(terms) == {"loss", "assignment_loss", "gradient_norm"}
    assert terms["loss"] == terms["assignment_loss"]


def test_equal_seeds_begin_with_equal_weights(tiny):
    first, second, other = (Trainer(tiny(seed=seed), 20, 3, CPU) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(weights_of(first), weights_of(second), strict=True))
    assert not torch.equal(first.prototypes.weight, other.prototypes.weight)
