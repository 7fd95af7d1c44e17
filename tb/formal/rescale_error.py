"""The error of MUL-by-ADD against the exact product x·2^Δ·(1 + ε), bounded over every ε.

With F the fraction of x, s its segment, k = ``comp_bits``, E = ε·2^24 (an integer, −2^17 ≤ E ≤ 2^17) and
offset[s] = Δ·2^23 + d, d = rint(E·w_s/2), w_s = 1 + (2s + 1)/2^(k+1), in units of 2^−24 ulp of x·2^Δ:

    the exact product is worth   (2^23 + F)·(2^24 + E)
    the result is worth          2^24·(2^23 + F + d)           in the same binade, 0 ≤ F + d < 2^23
                                 2^25·(F + d)                  one binade up
                                 2^23·(2^24 + F + d)           one binade down

(the proofs ``rescale-value-k`` tie these three lines to the RTL). In the binade the difference is
E·(w_s·2^23 − 2^23 − F) plus d's rounding, at most 2^23; F is at most half a segment, 2^(22−k), from the weight's
middle. Across a binade's edge d counts in ulps of another size: 2 + 2·w_s·ε where 2 + 2·ε is meant (F at the top),
or 1 + w_s·ε/2 where 1 + ε is meant (F = 0). In ulps of the **result**, whose binade it is, therefore:

    same binade      |error| ≤ |E|/2^(k+2) + 1/2                        relative:  |ε|/2^(k+1) + 2^−24
    across an edge   |error| ≤ |E|·(1/2 − 1/2^(k+2)) + 1  for k ≥ 1     relative:  |ε|·(1 − 1/2^(k+1)) + 2^−23
                     |error| ≤ |E|/2 + 1                  for k = 0     relative:  |ε| + 2^−23

Relative is to the result. Only words nearer to an edge than d cross it: at most about 2·|ε| of all fractions.

For fixed E and s the error is affine in F between the edges, so its extremes are at the ends of those
stretches: checking the ends for every E and s checks every word.
"""

import time
from dataclasses import dataclass

import numpy as np
from amla.model.attention.softmax import _row_offset
from amla.model.fp.jit import njit

from .solve import Outcome

__all__ = ["MAX_EXCESS", "PROOFS", "Enumeration", "word_errors", "worst_errors"]

#: Largest |E|: the clamp of ``docs/numerics.md``.
MAX_EXCESS = 1 << 17
_ONE = 1 << 23


@njit()
def _crossing(comp_bits):
    """Factor of |E| in the bound across an edge, in 2^−24 ulp."""
    return _ONE - (1 << (22 - comp_bits)) if comp_bits else _ONE


@njit()
def _slack(fraction, excess, move, comp_bits):
    """Edge crossed or not (1, 0), and bound less error in 2^−24 ulp of x·2^Δ; negative if the bound is broken."""
    moved = fraction + move
    exact = (_ONE + fraction) * ((1 << 24) + excess)
    size = abs(excess)
    crossing = size * _crossing(comp_bits) + (1 << 24)
    if moved >= _ONE:
        return 1, 2 * crossing - abs(moved * (1 << 25) - exact)  # the result's ulp is two of x·2^Δ's
    if moved < 0:
        return 1, crossing // 2 - abs(((1 << 24) + moved) * _ONE - exact)
    return 0, size * (1 << (22 - comp_bits)) + _ONE - abs((_ONE + moved) * (1 << 24) - exact)


@njit()
def worst_errors(comp_bits, bias):
    """Smallest slack in the binade and across an edge over every E, segment and word; ``bias`` is added to d."""
    least = np.full(2, np.int64(1) << 62)
    for segment in range(1 << comp_bits):
        low = segment << (23 - comp_bits)
        high = ((segment + 1) << (23 - comp_bits)) - 1
        for excess in range(-MAX_EXCESS, MAX_EXCESS + 1):
            move = _row_offset(0, excess, segment, comp_bits) + bias
            for end in (low, high, -move - 1, -move, _ONE - 1 - move, _ONE - move):
                if low <= end <= high:
                    crossed, slack = _slack(end, excess, move, comp_bits)
                    least[crossed] = min(least[crossed], slack)
    return least


@njit()
def word_errors(comp_bits, excess):
    """The same over all 2^23 fractions, word by word, for one E."""
    least = np.full(2, np.int64(1) << 62)
    for fraction in range(_ONE):
        segment = fraction >> (23 - comp_bits)
        crossed, slack = _slack(fraction, excess, _row_offset(0, excess, segment, comp_bits), comp_bits)
        least[crossed] = min(least[crossed], slack)
    return least


@dataclass(frozen=True, kw_only=True)
class _Planted:
    """The bug of an enumeration: every offset is one unit in the last place too large."""

    says: str = "every offset is one ulp too large"
    bias: int = 1


@dataclass(frozen=True, kw_only=True)
class Enumeration:
    """A claim decided by going through all its cases; stands beside :class:`~amla.tb.formal.proof.Proof`."""

    name: str
    says: str
    comp_bits: int
    bug: _Planted = _Planted()
    engine: str = "all ε and words"
    quick: bool = False

    def decide(self, *, broken: bool) -> Outcome:
        """Go through every case, with the planted bug or without."""
        start = time.monotonic()
        least = worst_errors(self.comp_bits, self.bug.bias if broken else 0)
        return Outcome(verdict="proven" if least.min() >= 0 else "refuted", seconds=round(time.monotonic() - start, 1),
                       detail=f"least slack {least.tolist()} in 2^-24 ulp: in the binade, across an edge")


PROOFS = tuple(
    Enumeration(name=f"rescale-error-{k}", comp_bits=k,
                says=f"comp_bits {k}, |ε| ≤ 2^−7: error against x·2^Δ·(1+ε) ≤ |ε|·2^{22 - k} + ½ ulp; "
                     f"across a binade's edge ≤ |ε|·2^23·{_crossing(k) / _ONE:g} + 1 ulp")
    for k in range(4)
)
