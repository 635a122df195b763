import numpy as np

from sdpn.training.schedules import learning_rate, teacher_momentum


def test_the_learning_rate_rises_linearly_then_falls_along_a_cosine():
    found = [learning_rate(step, total=50, warmup=10, peak=0.6, final=1e-5) for step in range(50)]
    rise = 0.6 * np.arange(1, 11) / 10
    fall = 1e-5 + 0.5 * (0.6 - 1e-5) * (1 + np.cos(np.pi * np.linspace(0, 1, 40)))
    np.testing.assert_allclose(found, np.concatenate([rise, fall]))


def test_without_a_warm_up_the_learning_rate_begins_at_its_peak():
    assert learning_rate(0, total=5, warmup=0, peak=0.3, final=0.0) == 0.3


def test_the_teachers_momentum_rises_to_one_along_a_cosine():
    found = [teacher_momentum(step, total=20, initial=0.996) for step in range(20)]
    expected = 1 - (1 - 0.996) * 0.5 * (1 + np.cos(np.pi * np.linspace(0, 1, 20)))
    np.testing.assert_allclose(found, expected)
    assert found[-1] == 1


def test_a_training_of_one_step_has_schedules():
    assert learning_rate(0, total=1, warmup=0, peak=0.3, final=0.0) == 0.3
    assert teacher_momentum(0, total=1, initial=0.9) == 0.9
