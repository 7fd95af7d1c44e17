"""What AXI's beats are for: rows of L1 as they come, rows to dequantise, lists of rows."""

import enum

from amaranth import Module, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..fp.countdown import countdown
from .axi import Response
from .burst import BEATS_BITS, ROWS_BITS
from .dequantizer import Dequantizer

__all__ = ["Kind", "RowSource"]


class Kind(enum.IntEnum):
    """What answers are."""

    PLAIN = 0
    DEQUANTIZE = 1
    LIST = 2


class RowSource(wiring.Component):
    """Gives the answers to each request to ``plain``, to ``list``, or through a :class:`Dequantizer` to ``converted``.

    **Latency**: none to ``plain`` and ``list``; to ``converted`` that of the dequantizer. **Throughput**: a beat of
    ``beats`` per cycle, across requests; of one to dequantise from its third cycle on.

    Parameters
    ----------
    data_bytes: bytes per beat
    max_rows:   most rows of a request that is dequantised; None: there is none such, and no dequantizer
    requests:   that may wait for their beats

    Members
    -------
    request:   ``In(stream)`` of {beats: of ``beats``, at least one; kind; task: of the dequantizer}, before the first
               of these beats
    beats:     ``In(stream)`` of {data, resp}, AXI's answers
    plain, converted, list: ``Out(stream)`` of {data, resp}
    drop:      take all beats, and give none, for good
    """

    def __init__(self, *, data_bytes: int, max_rows: int | None, requests: int):
        self._dequantizer = None if max_rows is None else Dequantizer(data_bytes=data_bytes, max_rows=max_rows)
        self._requests = requests
        beat = data.StructLayout({"data": unsigned(8 * data_bytes), "resp": Response})
        request: dict = {"beats": unsigned(ROWS_BITS + BEATS_BITS), "kind": Kind}
        if self._dequantizer is not None:
            request["task"] = self._dequantizer.task.payload.shape()
        self._request = data.StructLayout(request)
        super().__init__({
            "request": In(stream.Signature(self._request)),
            "beats": In(stream.Signature(beat)),
            "plain": Out(stream.Signature(beat)),
            "list": Out(stream.Signature(beat)),
            **({} if self._dequantizer is None else {"converted": Out(stream.Signature(beat))}),
            "drop": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.requests = requests = SyncFIFOBuffered(width=self._request.size, depth=self._requests)
        following = data.View(self._request, requests.r_data)
        active, taken, accepts = Signal(), Signal(), Signal()
        kind = Signal(Kind)
        last = countdown(m, following.beats, start=requests.r_en, step=taken, name="beats")
        m.d.comb += [
            self.request.ready.eq(requests.w_rdy),
            requests.w_en.eq(self.request.valid),
            requests.w_data.eq(self.request.payload),
            requests.r_en.eq(~active | (taken & last)),
            self.beats.ready.eq(self.drop | accepts),
            taken.eq(self.beats.valid & accepts),
        ]
        with m.If(requests.r_en):
            m.d.sync += [active.eq(requests.r_rdy), kind.eq(following.kind)]
        outputs = {Kind.PLAIN: (self.plain, 1), Kind.LIST: (self.list, 1)}
        if self._dequantizer is not None:
            m.submodules.dequantizer = dequantizer = self._dequantizer
            waits = Signal()  # the dequantizer has yet to take the task
            with m.If(requests.r_en):
                m.d.sync += [waits.eq(requests.r_rdy & (following.kind == Kind.DEQUANTIZE)),
                             dequantizer.task.payload.eq(following.task)]
            with m.Elif(dequantizer.task.ready):
                m.d.sync += waits.eq(0)
            m.d.comb += [dequantizer.task.valid.eq(waits), dequantizer.drop.eq(self.drop)]
            wiring.connect(m, dequantizer.out, wiring.flipped(self.converted))
            outputs[Kind.DEQUANTIZE] = dequantizer.beats, ~waits
        for of, (output, may) in outputs.items():
            chosen = active & (kind == of) & may
            m.d.comb += [output.payload.eq(self.beats.payload), output.valid.eq(self.beats.valid & chosen)]
            with m.If(chosen):
                m.d.comb += accepts.eq(output.ready)
        return m
