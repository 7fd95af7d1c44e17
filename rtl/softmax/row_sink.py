# amaranth: UnusedElaboratable=no
"""The attention sink of a row, weighed into the factor that O is multiplied by."""

from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..fp.add import Add
from ..fp.exp2 import Exp2
from ..fp.mul import Mul
from ..fp.recip import Recip
from ..pipeline import Pipeline

__all__ = ["RowSink"]

LOG2E = 0x3FB8AA3B
ONE = 0x3F800000
PLUS_INF = 0x7F800000
SIGN = 1 << 31


class RowSink(wiring.Component):
    """``weighed`` = ``recip`` · 1 / (1 + 2^(log2(e)·(``sink`` - ``lse``))); feed-forward.

    A ``recip`` of +inf, that of a row without key, stays. The operations are those of ``model/attention/sink.py``.

    **Latency**: ``latency`` cycles. **Throughput**: one row per cycle.

    Members
    -------
    recip, lse: factor of O without the sink and LSE, of :class:`~amla.rtl.softmax.row_result.RowResult`
    sink:       the row's sink, a natural exponent
    weighed:    factor of O with the sink
    """

    def __init__(self):
        super().__init__({"recip": In(32), "lse": In(32), "sink": In(32), "weighed": Out(32)})
        self._pipe = pipe = Pipeline()
        recip = pipe.data(self.recip, "recip_in")
        empty = pipe.comb("is_empty", lambda x: x == PLUS_INF, recip)
        excess = pipe.unit("subtract_lse", Add(), a=pipe.data(self.sink, "sink_in"),
                           b=pipe.comb("minus_lse", lambda x: x ^ SIGN, pipe.data(self.lse, "lse_in")))
        ratio = pipe.unit("exp2_ratio", Exp2(), x=pipe.unit("to_base_2", Mul(), a=LOG2E, b=excess))
        factor = pipe.unit("recip_total", Recip(), x=pipe.unit("add_one", Add(), a=ONE, b=ratio))
        weighed = pipe.unit("weigh", Mul(), a=recip, b=factor)
        self.latency = pipe.finish({"weighed": pipe.comb("weighed_out", Mux, empty, PLUS_INF, weighed)}, self)

    def elaborate(self, platform):
        m = Module()
        self._pipe.add_to(m)
        return m
