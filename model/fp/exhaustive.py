"""Every FP32 word through the unary operations.

``python -m amla.model.fp.exhaustive [exp2|log2|recip|to_bf16|to_fp16|to_u6_10]``; minutes per operation, exits 1 on a
violation.

exp2, log2 and recip are compared with float64 (its own error, below 10⁻⁸ FP32 ulp, does not matter): the
result must be faithful (error below one ulp), exact at the exact points, right at the special values, and
monotonic over positive and over negative words. to_bf16, to_fp16 and to_u6_10 must return the nearer of the two
enclosing values. Subnormal inputs are zeros; results are flushed as ``docs/numerics.md`` says.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

from .convert import narrow_word
from .exp2 import exp2_word
from .formats import BF16, FP16, U6_10, Format
from .log2 import log2_word
from .recip import recip_word

__all__ = ["CURVES", "NARROW", "OPERATIONS", "Result", "check", "faithful_kernel", "narrow_kernel"]

_BF16, _FP16, _U6_10 = BF16.fields, FP16.fields, U6_10.fields

_INFINITE = float.fromhex("0x1p128")
#: From here on a magnitude rounds to a normal number, or is one.
_NORMAL = float.fromhex("0x1p-126") - float.fromhex("0x1p-151")


@dataclass(frozen=True)
class Result:
    """Outcome over a range of words: how many, the worst error with its word, and the violations."""

    words: int
    worst_ulp: float
    worst_word: int
    unfaithful: int
    inexact: int
    special: int
    not_monotonic: int

    @property
    def violations(self) -> int:
        """Violations of every kind."""
        return self.unfaithful + self.inexact + self.special + self.not_monotonic

    def merge(self, other: "Result") -> "Result":
        """Both ranges together."""
        worst = max(self, other, key=lambda result: result.worst_ulp)
        return Result(
            self.words + other.words, worst.worst_ulp, worst.worst_word,
            self.unfaithful + other.unfaithful, self.inexact + other.inexact,
            self.special + other.special, self.not_monotonic + other.not_monotonic,
        )


@numba.njit
def _value(word):
    """The value of an FP32 word as float64, subnormals as zeros."""
    field = (word >> 23) & 0xFF
    fraction = word & 0x7FFFFF
    if field == 255:
        magnitude = np.nan if fraction else np.inf
    elif field == 0:
        magnitude = 0.0
    else:
        magnitude = math.ldexp(np.float64(fraction | 0x800000), field - 150)
    return -magnitude if word >> 31 else magnitude


@numba.njit
def _ulp(value):
    """Spacing of FP32 numbers of the magnitude of ``value``."""
    return math.ldexp(1.0, math.frexp(value)[1] - 24)


def faithful_kernel(operation, curve, exact, direction):
    """The check of ``operation`` (FP32 word → FP32 word) against ``curve`` (float64 → float64).

    All arguments but the last are compiled functions; ``exact(x)`` says where the result must equal it,
    ``direction`` is 1.0 for a rising and −1.0 for a falling curve.
    """

    @numba.njit(nogil=True, error_model="numpy")
    def kernel(start, stop):
        worst, worst_word = -1.0, start
        unfaithful, inexact, special, not_monotonic = 0, 0, 0, 0
        before = np.nan
        for word in range(max(start - 1, start & 0x80000000), stop):  # one word early, for the monotonicity
            x = _value(word)
            reference = curve(x)
            result_word = np.int64(operation(np.uint32(word)))
            result = _value(result_word)
            step = -direction if word >> 31 else direction  # negative words descend
            if (result - before) * step < 0.0:
                not_monotonic += 1
            before = result
            if word < start:
                continue
            magnitude = abs(reference)
            if reference != reference:
                special += result_word != 0x7FC00000
            elif magnitude < _NORMAL:
                special += result_word != (np.int64(math.copysign(1.0, reference) < 0.0) << 31)
            elif magnitude >= _INFINITE:
                special += result_word != (np.int64(reference < 0.0) << 31 | 0x7F800000)
            else:
                error = abs(result - reference) / _ulp(reference)
                if error > worst:
                    worst, worst_word = error, word
                unfaithful += not error < 1.0
                if exact(x):
                    inexact += result != reference
        return worst, worst_word, unfaithful, inexact, special, not_monotonic

    return kernel


@numba.njit
def _power_of_two(x):
    return math.frexp(abs(x))[0] == 0.5


@numba.njit
def _integer(x):
    return x == math.floor(x)


@numba.njit
def _exp2(x):
    return np.exp2(x)


@numba.njit
def _log2(x):
    return np.log2(x)


@numba.njit(error_model="numpy")
def _recip(x):
    return 1.0 / x


def narrow_kernel(operation, format: Format):
    """The check of ``operation`` (FP32 word → word of ``format``): the nearer of the enclosing values, ties to even."""
    bits, bias, subnormals = format.fraction_bits, format.bias, format.subnormals
    hidden, infinity, quiet_nan = format.min_normal, format.infinity, format.quiet_nan
    sign_bit = 1 << format.bits - 1 if format.signed else 0

    @numba.njit(nogil=True)
    def kernel(start, stop):
        worst, worst_word = -1.0, start
        unfaithful, special = 0, 0
        for word in range(start, stop):
            x = abs(_value(word))
            sign = (word >> 31) * sign_bit
            result = np.int64(operation(np.uint32(word)))
            if x != x:
                special += result != quiet_nan
            elif x == 0.0:
                special += result != sign
            elif x == np.inf:
                special += result != (sign | infinity)
            else:
                exponent = math.frexp(x)[1] - 1
                if subnormals:
                    exponent = max(exponent, 1 - bias)
                steps = math.ldexp(x, bits - exponent)  # in units of the last place; exact
                below = np.int64(math.floor(steps))
                error = steps - below
                nearest = below + (error > 0.5 or (error == 0.5 and below & 1 == 1))
                wanted = ((exponent + bias) << bits) + nearest - hidden
                if wanted < hidden and not subnormals:
                    wanted = np.int64(0)
                if wanted > infinity:
                    wanted = np.int64(infinity)
                unfaithful += result != sign + wanted
                if wanted != infinity and min(error, 1.0 - error) > worst:
                    worst, worst_word = min(error, 1.0 - error), word
        return worst, worst_word, unfaithful, 0, special, 0

    return kernel


#: What :func:`faithful_kernel` needs besides the operation: its curve, where it is exact, and its direction.
CURVES = {
    "exp2": (_exp2, _integer, 1.0),
    "log2": (_log2, _power_of_two, 1.0),
    "recip": (_recip, _power_of_two, -1.0),
}

@numba.njit
def _to_bf16(word):
    return narrow_word(word, *_BF16)


@numba.njit
def _to_fp16(word):
    return narrow_word(word, *_FP16)


@numba.njit
def _to_u6_10(word):
    return narrow_word(word, *_U6_10)


#: What :func:`narrow_kernel` needs: the operation and its format.
NARROW = {"to_bf16": (_to_bf16, BF16), "to_fp16": (_to_fp16, FP16), "to_u6_10": (_to_u6_10, U6_10)}

#: The kernels by operation: (start word, stop word) → the fields of :class:`Result` after ``words``.
OPERATIONS: dict[str, Callable] = {
    "exp2": faithful_kernel(exp2_word, *CURVES["exp2"]),
    "log2": faithful_kernel(log2_word, *CURVES["log2"]),
    "recip": faithful_kernel(recip_word, *CURVES["recip"]),
    **{name: narrow_kernel(*arguments) for name, arguments in NARROW.items()},
}


def check(name: str, *, start: int = 0, stop: int = 1 << 32, step: int = 1 << 25,
          progress: Callable[[int], None] = lambda words: None) -> Result:
    """Check ``name`` on the words from ``start`` to ``stop`` in ranges of ``step`` on every core."""
    kernel = OPERATIONS[name]
    total = Result(0, -1.0, start, 0, 0, 0, 0)
    ranges = [(first, min(first + step, stop)) for first in range(start, stop, step)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = pool.map(lambda bounds: kernel(*bounds), ranges)
        for (first, last), fields in zip(ranges, outcomes, strict=True):
            total = total.merge(Result(last - first, *fields))
            progress(total.words)
    return total


def _show(words: int) -> None:
    print(f"\r{words / 2**32:4.0%}", end="\r", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Check unary operations on all 2^32 FP32 words.")
    parser.add_argument("operation", nargs="?", choices=OPERATIONS, help="default: all of them")
    chosen = parser.parse_args().operation
    failed = False
    for name in [chosen] if chosen else OPERATIONS:
        began = time.monotonic()
        result = check(name, progress=_show)
        print(
            f"{name}: {result.words} words in {time.monotonic() - began:.0f} s, worst error "
            f"{result.worst_ulp:.4f} ulp at {result.worst_word:#010x}; {result.unfaithful} unfaithful, "
            f"{result.inexact} inexact, {result.special} wrong specials, {result.not_monotonic} not monotonic"
        )
        failed |= result.violations > 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
