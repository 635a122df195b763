"""Natural logarithm and exponential of float32 in a form that LLVM turns into vector instructions.

libm's are called a number at a time, which takes 5 to 7 ns; these take about 1 ns within a loop. They are for finite
arguments within the range of normal floats, which is what energies are.
"""

import numba
import numpy as np

_LN2 = np.float32(np.log(2.0))
_LOG2_E = np.float32(1 / np.log(2.0))
# ln 2 in two parts: a multiple of the first by a small whole number is exact
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(np.log(2.0) - 0.693359375)
_SQRT_HALF_BITS = np.int32(np.float32(np.sqrt(0.5)).view(np.int32))
_TO_WHOLE = np.float32(1.5 * 2**23)  # added and subtracted again, it rounds to the nearest whole number

# error_model: a check for division by zero in every turn of a loop would keep it from being vectorized
vectorizable = numba.njit(error_model="numpy", fastmath={"contract", "nsz"})


@vectorizable
def log(x):
    """ln x for a normal positive float32, to 2 units in the last place or 1e-7.

    x = 2^e m with m in [sqrt(1/2), sqrt(2)), and ln m = 2 artanh(s) with s = (m - 1) / (m + 1), whose series ends
    where |s| <= 0.172 leaves nothing of float32.
    """
    whole = np.float32(x).view(np.int32)
    # numba widens sums of int32 to int64, of which a vector holds half as many
    exponent = np.int32(np.int32(whole - _SQRT_HALF_BITS) >> np.int32(23))
    m = np.int32(whole - np.int32(exponent << np.int32(23))).view(np.float32)
    s = (m - np.float32(1)) / (m + np.float32(1))
    z = s * s
    series = z * (np.float32(2 / 3) + z * (np.float32(2 / 5) + z * (np.float32(2 / 7) + z * np.float32(2 / 9))))
    e = np.float32(exponent)
    return e * _LN2_HIGH + (np.float32(2) * s + (s * series + e * _LN2_LOW))


@vectorizable
def exp(x):
    """e^x for a float32 in [-87, 88] (beyond, its value at the end), to 2e-7 of the value.

    x = n ln 2 + r with |r| <= 0.347; the series of e^r ends where it leaves nothing of float32, and 2^n is put
    together from its bits.
    """
    x = min(max(np.float32(x), np.float32(-87)), np.float32(88))
    n = (x * _LOG2_E + _TO_WHOLE) - _TO_WHOLE
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    series = np.float32(1) + r * (
        np.float32(1)
        + r
        * (
            np.float32(1 / 2)
            + r * (np.float32(1 / 6) + r * (np.float32(1 / 24) + r * (np.float32(1 / 120) + r * np.float32(1 / 720))))
        )
    )
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return series * power
