"""Rows for L1 out of AXI's beats: as they come, or dequantised."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..fp.countdown import countdown
from .axi import Response
from .burst import BEATS_BITS, ROWS_BITS
from .dequantizer import Dequantizer

__all__ = ["RowSource"]


class RowSource(wiring.Component):
    """Gives the answers of each command to ``plain``, or through a :class:`Dequantizer` to ``converted``.

    **Latency**: none to ``plain``; to ``converted`` that of the dequantizer. **Throughput**: a beat of ``beats`` per
    cycle; of a command that is dequantised from its third cycle on.

    Parameters
    ----------
    data_bytes: bytes per beat
    max_rows:   most rows of a command that is dequantised; None: there is none such, and no dequantizer
    commands:   that may wait

    Members
    -------
    command:   ``In(stream)`` of {beats: of ``beats``, at least one; dequantize; task: of the dequantizer}, before the
               first of these beats
    beats:     ``In(stream)`` of {data, resp}, AXI's answers
    plain, converted: ``Out(stream)`` of {data, resp}
    drop:      take all beats, and give none, for good
    """

    def __init__(self, *, data_bytes: int, max_rows: int | None, commands: int):
        self._dequantizer = None if max_rows is None else Dequantizer(data_bytes=data_bytes, max_rows=max_rows)
        self._commands = commands
        beat = data.StructLayout({"data": unsigned(8 * data_bytes), "resp": Response})
        command: dict = {"beats": unsigned(ROWS_BITS + BEATS_BITS)}
        if self._dequantizer is not None:
            command |= {"dequantize": unsigned(1), "task": self._dequantizer.task.payload.shape()}
        self._command = data.StructLayout(command)
        super().__init__({
            "command": In(stream.Signature(self._command)),
            "beats": In(stream.Signature(beat)),
            "plain": Out(stream.Signature(beat)),
            **({} if self._dequantizer is None else {"converted": Out(stream.Signature(beat))}),
            "drop": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.commands = commands = SyncFIFOBuffered(width=self._command.size, depth=self._commands)
        following = data.View(self._command, commands.r_data)
        active, taken = Signal(), Signal()
        last = countdown(m, following.beats, start=commands.r_en, step=taken, name="beats")
        m.d.comb += [
            self.command.ready.eq(commands.w_rdy),
            commands.w_en.eq(self.command.valid),
            commands.w_data.eq(self.command.payload),
            commands.r_en.eq(~active | (taken & last)),
            taken.eq(self.beats.valid & self.beats.ready & active),
            self.plain.payload.eq(self.beats.payload),
        ]
        with m.If(commands.r_en):
            m.d.sync += active.eq(commands.r_rdy)
        dequantizer = self._dequantizer
        if dequantizer is None:
            m.d.comb += [
                self.plain.valid.eq(self.beats.valid & active),
                self.beats.ready.eq(self.drop | (active & self.plain.ready)),
            ]
            return m
        m.submodules.dequantizer = dequantizer
        dequantize, waits = Signal(), Signal()  # the dequantizer has yet to take the task
        with m.If(commands.r_en):
            m.d.sync += [dequantize.eq(following.dequantize), waits.eq(commands.r_rdy & following.dequantize),
                         dequantizer.task.payload.eq(following.task)]
        with m.Elif(dequantizer.task.ready):
            m.d.sync += waits.eq(0)
        passes = active & dequantize & ~waits
        m.d.comb += [
            dequantizer.task.valid.eq(waits),
            dequantizer.beats.payload.eq(self.beats.payload),
            dequantizer.beats.valid.eq(self.beats.valid & passes),
            dequantizer.drop.eq(self.drop),
            self.plain.valid.eq(self.beats.valid & active & ~dequantize),
            self.beats.ready.eq(self.drop | Mux(dequantize, passes & dequantizer.beats.ready,
                                                active & self.plain.ready)),
        ]
        wiring.connect(m, dequantizer.out, wiring.flipped(self.converted))
        return m
