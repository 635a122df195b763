import numpy as np
import torch
from torch import nn

from sdpn.training.trainer import make_teacher, update_teacher


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()


def test_the_teacher_is_a_moving_average_of_the_students_parameters():
    student = network()
    teacher = make_teacher(student)
    expected = [weight.numpy().copy() for weight in teacher.parameters()]
    for m in (0.9, 0.5):
        with torch.no_grad():
            for weight in student.parameters():
                weight += torch.randn_like(weight)
        update_teacher(teacher, student, m)
        expected = [
            m * old + (1 - m) * new.detach().numpy() for old, new in zip(expected, student.parameters(), strict=True)
        ]
    for weight, value in zip(teacher.parameters(), expected, strict=True):
        np.testing.assert_allclose(weight, value)


def test_the_teacher_has_running_statistics_of_its_own():
    student = network()
    teacher = make_teacher(student)
    student(torch.randn(5, 3).double())
    update_teacher(teacher, student, 0.5)
    assert not torch.equal(teacher[1].running_mean, student[1].running_mean)


def test_the_teacher_is_in_training_mode_and_takes_no_gradient():
    teacher = make_teacher(network().eval())
    assert teacher.training
    assert not any(weight.requires_grad for weight in teacher.parameters())
