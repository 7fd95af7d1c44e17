"""Small designs that the bench helpers are tried on."""

from amaranth import Module
from amaranth.hdl import unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Lookup"]


class Lookup(wiring.Component):
    """Table lookup through outside memory ports.

    **Latency**: one cycle. **Throughput**: one lookup and one write per cycle.
    """

    def __init__(self, *, words: int, width: int, grains: int):
        address_bits = (words - 1).bit_length()
        super().__init__({
            "request": In(stream.Signature(address_bits)),
            "result": Out(stream.Signature(width)),
            "write": In(stream.Signature(data.StructLayout({
                "address": unsigned(address_bits), "mask": unsigned(grains), "data": unsigned(width)}))),
            "table_read": In(memory.ReadPort.Signature(addr_width=address_bits, shape=unsigned(width))),
            "table_write": In(memory.WritePort.Signature(addr_width=address_bits, shape=unsigned(width),
                                                         granularity=width // grains)),
        })

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.request.ready.eq(~self.result.valid | self.result.ready),
            self.table_read.addr.eq(self.request.payload),
            self.table_read.en.eq(self.request.valid & self.request.ready),
            self.result.payload.eq(self.table_read.data),
            self.write.ready.eq(1),
            self.table_write.addr.eq(self.write.payload.address),
            self.table_write.data.eq(self.write.payload.data),
        ]
        with m.If(self.write.valid):
            m.d.comb += self.table_write.en.eq(self.write.payload.mask)
        with m.If(self.request.ready):
            m.d.sync += self.result.valid.eq(self.request.valid)
        return m
