import numba
import numpy as np
import pytest

from sdpn.features.logarithm import exp, log


@numba.njit(error_model="numpy", fastmath={"contract", "nsz"})
def both(numbers, logs, powers):
    for i in range(len(numbers)):
        powers[i] = exp(numbers[i])
        logs[i] = log(powers[i])


def test_they_are_those_of_mathematics():
    numbers = np.linspace(-80, 80, 100_001).astype(np.float32)
    logs, powers = np.empty_like(numbers), np.empty_like(numbers)
    both(numbers, logs, powers)
    np.testing.assert_allclose(powers, np.exp(numbers.astype(np.float64)), rtol=3e-7)
    np.testing.assert_allclose(logs, np.log(powers.astype(np.float64)), rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize(("number", "stays_at"), [(-1e9, -87), (1e9, 88)])
def test_the_exponential_stays_within_its_range(number, stays_at):
    logs, powers = np.empty(1, dtype=np.float32), np.empty(1, dtype=np.float32)
    both(np.array([number], dtype=np.float32), logs, powers)
    np.testing.assert_allclose(powers, np.exp(stays_at), rtol=1e-5)


def test_loops_over_them_become_vector_instructions():
    numbers = np.ones(8, dtype=np.float32)
    both(numbers, numbers.copy(), numbers.copy())
    (assembly,) = both.inspect_asm().values()
    assert any(division in assembly for division in ("vdivps", "divps", "fdiv\tv", "fdiv v"))
