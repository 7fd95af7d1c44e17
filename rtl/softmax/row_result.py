# amaranth: UnusedElaboratable=no
"""End of the online softmax, per row: the reciprocal that O is multiplied by, and the LSE."""

from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..fp.add import Add
from ..fp.log2 import Log2
from ..fp.mul import Mul
from ..fp.recip import Recip
from ..pipeline import Pipeline

__all__ = ["RowResult"]

LN2 = 0x3F317218
PLUS_INF = 0x7F800000


class RowResult(wiring.Component):
    """``recip`` = 1 / ``divisor`` and ``lse`` = ln2·(m + log2 L), both +inf if L is zero; feed-forward.

    L is zero if the row has no valid key, or none with a score above -inf; no other row has an infinite ``recip``.

    **Latency**: ``latency`` cycles. **Throughput**: one row per cycle.

    Members
    -------
    m, L:    row maximum and sum of the unrounded exponentials
    divisor: sum in O's frame: l, or L in mode ``mul``
    recip:   factor of O
    lse:     natural logarithm of the row's sum of exponentials
    """

    def __init__(self):
        super().__init__({
            "m": In(32), "L": In(32), "divisor": In(32),
            "recip": Out(32), "lse": Out(32),
        })
        self._pipe = pipe = Pipeline()
        total = pipe.data(self.L, "total")
        empty = pipe.comb("is_zero", lambda x: x[23:31] == 0, total)
        log = pipe.unit("log2", Log2(), x=total)
        log = pipe.unit("add_maximum", Add(), a=pipe.data(self.m, "m_in"), b=log)
        recip = pipe.unit("recip_sum", Recip(), x=pipe.data(self.divisor, "divisor_in"))
        lse = pipe.unit("to_natural", Mul(), a=LN2, b=log)  # digits of the logarithm: those of ln 2 repeat
        self.latency = pipe.finish({
            "recip": pipe.comb("recip_out", Mux, empty, PLUS_INF, recip),
            "lse": pipe.comb("lse_out", Mux, empty, PLUS_INF, lse),
        }, self)

    def elaborate(self, platform):
        m = Module()
        self._pipe.add_to(m)
        return m
