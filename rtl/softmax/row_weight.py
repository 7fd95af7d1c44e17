# amaranth: UnusedElaboratable=no
"""The exponential of a row's sink, or of a split's LSE, weighed against the rest of the row."""

from amaranth import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..fp.add import Add
from ..fp.exp2 import Exp2
from ..fp.mul import Mul
from ..fp.recip import Recip
from ..pipeline import Pipeline

__all__ = ["RowWeight", "slots"]

LOG2E = 0x3FB8AA3B
ONE = 0x3F800000
MINUS_ZERO = 1 << 31
PLUS_INF = 0x7F800000
#: Factor of a split that counts for nothing, as in ``model/attention/split_kv.py``.
UNSEEN = 0xBF800000


def slots(rows: int) -> int:
    """Cycles from a row's split to its next one: a row each, and no fewer than their sum takes."""
    return max(rows, Add.latency + 1)


class RowWeight(wiring.Component):
    """``weighed``: a sink's, or with ``merge`` a split's; feed-forward but for the sums of splits.

    A sink's: ``recip`` · 1 / (1 + 2^(log2e·(``sink`` - ``lse``))); a ``recip`` of +inf, of a row without key, stays.

    A split's: w · 1 / W, w = 2^(log2e·(``sink`` - ``lse``)), W the sum of the w of the row that had ``adds``, of which
    the last one was :func:`slots` cycles before; :data:`UNSEEN` without ``seen``.

    The operations are those of ``model/attention/sink.py`` and ``split_kv.py``.

    **Latency**: ``latency`` cycles, to ``total`` ``total_latency``. **Throughput**: one row per cycle.

    Parameters
    ----------
    rows: of a row group

    Members
    -------
    recip, lse: factor of O without the sink and LSE, of :class:`~amla.rtl.softmax.row_result.RowResult`; with ``merge``
                ``lse`` is the maximum of the splits'
    sink:       the row's sink, a natural exponent; with ``merge`` the split's LSE
    merge:      a split; what follows counts with it only
    fresh:      the row's first split: W begins
    seen:       the split counts
    adds:       its w is added to W
    lone:       w = 1: the row has no other split
    weighed:    factor of O with the sink, or of the split's output
    total:      W
    """

    def __init__(self, rows: int):
        super().__init__({
            "recip": In(32), "lse": In(32), "sink": In(32),
            "merge": In(1), "fresh": In(1), "seen": In(1), "adds": In(1), "lone": In(1),
            "weighed": Out(32), "total": Out(32),
        })
        self._pipe = pipe = Pipeline()
        merge, seen = pipe.data(self.merge, "merge_in"), pipe.data(self.seen, "seen_in")
        recip = pipe.data(self.recip, "recip_in")
        excess = pipe.unit("subtract_lse", Add(), a=pipe.data(self.sink, "sink_in"),
                           b=pipe.comb("minus_lse", lambda x: x ^ MINUS_ZERO, pipe.data(self.lse, "lse_in")))
        ratio = pipe.unit("exp2_ratio", Exp2(), x=pipe.unit("to_base_2", Mul(), a=LOG2E, b=excess))
        ratio = pipe.comb("weight", Mux, pipe.data(self.lone & self.merge, "lone_in"), ONE, ratio)
        kept = pipe.register(pipe.comb(
            "kept", lambda merge, ratio, recip: Mux(merge, ratio, recip), merge, ratio, recip))
        added = pipe.register(pipe.comb(
            "added", lambda adds, merge, ratio: Mux(adds | ~merge, ratio, MINUS_ZERO),
            pipe.data(self.adds, "adds_in"), merge, ratio))
        add = Add()
        total = pipe.data(add.y, "total", stage=added.stage + Add.latency)
        before = pipe.at(total, total.stage + slots(rows) - Add.latency - 1)
        base = pipe.register(pipe.comb(
            "base", lambda merge, fresh, _: Mux(merge, Mux(fresh, MINUS_ZERO, before), ONE),
            merge, pipe.data(self.fresh, "fresh_in"), ratio))
        pipe.place("sum", add, a=base, b=added)
        weighed = pipe.unit("weigh", Mul(), a=kept, b=pipe.unit("recip_total", Recip(), x=total))
        empty = pipe.comb("is_empty", lambda merge, seen, recip: Mux(merge, ~seen, recip == PLUS_INF),
                          merge, seen, recip)
        constant = pipe.comb("constant", Mux, merge, UNSEEN, PLUS_INF)
        self.total_latency = total.stage
        self.latency = pipe.finish({"weighed": pipe.comb("weighed_out", Mux, empty, constant, weighed)}, self)
        self._total = pipe.at(total, total.stage)

    def elaborate(self, platform):
        m = Module()
        self._pipe.add_to(m)
        m.d.comb += self.total.eq(self._total)
        return m
