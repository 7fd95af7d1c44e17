"""The AXI4 interconnect of a cluster: many managers, one memory."""

from typing import Any

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..host.axi import ReadArbiter, ReadSignature, WriteSignature
from .register_slice import RegisterSlice
from .write_arbiter import WriteArbiter

__all__ = ["Interconnect"]


class Interconnect(wiring.Component):
    """n managers to one: :class:`~amla.rtl.host.axi.ReadArbiter` and :class:`WriteArbiter` between registers.

    Every channel of a manager passes a :class:`RegisterSlice`, and so do R, B and W of the bus, so that each decision
    is made from registers and ends in them. AR and AW of the bus leave from the arbiters' registers.

    **Latency**: two cycles on every channel; W, whose bursts pass in the order of their AWs, three where it comes
    together with its AW. **Throughput**: one AR, one R beat, one AW, one W beat, one B per cycle. A manager that
    requests is served after at most one burst of every other one, on AR and on AW.

    Parameters
    ----------
    address_bits: width of addresses
    data_bits:    width of a beat
    managers:     how many, two or more
    id_bits:      width of their IDs

    Members
    -------
    managers: array of ``In`` of {``read``: ReadSignature, ``write``: WriteSignature}
    read:     ``Out(ReadSignature)``: the manager's number above its own ID
    write:    ``Out(WriteSignature)``: likewise

    Raises
    ------
    ValueError: a width that AXI does not know, or fewer than two managers.
    """

    def __init__(self, address_bits: int, data_bits: int, managers: int, *, id_bits: int = 1):
        self._read = ReadArbiter(address_bits, data_bits, managers, id_bits=id_bits)
        self._write = WriteArbiter(address_bits, data_bits, managers, id_bits=id_bits)
        wide = id_bits + ceil_log2(managers)
        super().__init__({
            "managers": In(wiring.Signature({
                "read": Out(ReadSignature(address_bits, data_bits, id_bits)),
                "write": Out(WriteSignature(address_bits, data_bits, id_bits)),
            })).array(managers),
            "read": Out(ReadSignature(address_bits, data_bits, wide)),
            "write": Out(WriteSignature(address_bits, data_bits, wide)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.read_arbiter = read = self._read
        m.submodules.write_arbiter = write = self._write
        for number, manager in enumerate(self.managers):
            for channel, source, sink in (
                ("ar", manager.read.ar, read.clients[number].ar), ("r", read.clients[number].r, manager.read.r),
                ("aw", manager.write.aw, write.clients[number].aw), ("w", manager.write.w, write.clients[number].w),
                ("b", write.clients[number].b, manager.write.b),
            ):
                _slice(m, f"{channel}_{number}", source, sink)
        _pass(m, read.bus.ar, self.read.ar)
        _pass(m, write.bus.aw, self.write.aw)
        _slice(m, "r", self.read.r, read.bus.r)
        _slice(m, "w", write.bus.w, self.write.w)
        _slice(m, "b", self.write.b, write.bus.b)
        return m


def _slice(m: Module, name: str, source: Any, sink: Any) -> None:
    m.submodules[f"{name}_slice"] = between = RegisterSlice(source.payload.shape())
    _pass(m, source, between.i)
    _pass(m, between.o, sink)


def _pass(m: Module, source: Any, sink: Any) -> None:
    m.d.comb += [sink.payload.eq(source.payload), sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
