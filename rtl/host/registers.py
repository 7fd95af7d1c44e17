"""The AXI4-Lite subordinate over the register map of ``csr.py``."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .csr import REGISTERS

__all__ = ["ADDRESS_BITS", "AxiLiteSignature", "Registers", "axi_lite_signature"]

ADDRESS_BITS = 12

_OKAY, _SLVERR = 0, 2


def axi_lite_signature(address_bits: int) -> wiring.Signature:
    """AXI4-Lite, 32 bit data, from the subordinate's view; the names follow the protocol's."""
    return wiring.Signature({
        "awaddr": In(address_bits), "awvalid": In(1), "awready": Out(1),
        "wdata": In(32), "wstrb": In(4), "wvalid": In(1), "wready": Out(1),
        "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
        "araddr": In(address_bits), "arvalid": In(1), "arready": Out(1),
        "rdata": Out(32), "rresp": Out(2), "rvalid": Out(1), "rready": In(1),
    })


#: Of one core's registers.
AxiLiteSignature = axi_lite_signature(ADDRESS_BITS)


class Registers(wiring.Component):
    """Register file behind AXI4-Lite.

    Read-write registers keep what was written (byte strobes honoured). A write to a ``ro`` register is
    accepted and ignored; an address without a register answers SLVERR. Registers with access ``w1`` or
    ``w1c`` do not store: their writes appear on ``written`` for one cycle.

    **Latency**: a write takes effect in the cycle after address and data have both arrived; read data follow
    the address by one cycle. **Throughput**: one write every two cycles, one read every two cycles.

    Members
    -------
    bus:     AXI4-Lite
    value:   what a read of each register returns (inputs, one per register that the hardware provides)
    stored:  content of each ``rw`` register
    written: for each ``w1`` and ``w1c`` register: the word being written, zero otherwise
    """

    def __init__(self):
        self.provided = [r for r in REGISTERS.values() if r.access in ("ro", "w1c")]
        self.kept = [r for r in REGISTERS.values() if r.access == "rw"]
        self.acting = [r for r in REGISTERS.values() if r.access in ("w1", "w1c")]
        super().__init__({
            "bus": Out(AxiLiteSignature),
            "value": In(wiring.Signature({r.name: Out(32) for r in self.provided})),
            "stored": Out(wiring.Signature({r.name: Out(32) for r in self.kept})),
            "written": Out(wiring.Signature({r.name: Out(32) for r in self.acting})),
        })

    def elaborate(self, platform):
        m = Module()
        bus = self.bus

        write_address = Signal(ADDRESS_BITS)
        write_data = Signal(32)
        write_mask = Signal(32)
        have_address = Signal()
        have_data = Signal()
        m.d.comb += [bus.awready.eq(~have_address), bus.wready.eq(~have_data)]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [write_address.eq(bus.awaddr), have_address.eq(1)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [
                write_data.eq(bus.wdata), have_data.eq(1),
                write_mask.eq(Cat(bus.wstrb[i].replicate(8) for i in range(4))),
            ]
        commit = Signal()
        m.d.comb += commit.eq(have_address & have_data & ~bus.bvalid)
        with m.If(commit):
            m.d.sync += [have_address.eq(0), have_data.eq(0), bus.bvalid.eq(1), bus.bresp.eq(_SLVERR)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)

        m.d.comb += bus.arready.eq(~bus.rvalid)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [bus.rvalid.eq(1), bus.rresp.eq(_SLVERR), bus.rdata.eq(0)]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)

        for register in REGISTERS.values():
            word = register.address // 4
            with m.If(commit & (write_address[2:] == word)):
                m.d.sync += bus.bresp.eq(_OKAY)
                if register in self.acting:
                    m.d.comb += getattr(self.written, register.name).eq(write_data & write_mask)
                elif register in self.kept:
                    stored = getattr(self.stored, register.name)
                    m.d.sync += stored.eq((stored & ~write_mask) | (write_data & write_mask))
            with m.If(bus.arvalid & bus.arready & (bus.araddr[2:] == word)):
                source = 0
                if register in self.kept:
                    source = getattr(self.stored, register.name)
                elif register in self.provided:
                    source = getattr(self.value, register.name)
                m.d.sync += [bus.rdata.eq(source), bus.rresp.eq(_OKAY)]
        return m
