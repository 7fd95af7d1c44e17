"""One AXI4-Lite port for the registers of many cores."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..host.registers import ADDRESS_BITS, AxiLiteSignature, axi_lite_signature

__all__ = ["RegisterPages"]

_SLVERR = 2


class RegisterPages(wiring.Component):
    """Passes an access to the core whose page it is in: core i's registers are at i · 4096.

    An address in nobody's page answers SLVERR, as one without a register does.

    **Latency**: two cycles more than the registers' own, each way. **Throughput**: one write and one read at a time.

    Parameters
    ----------
    cores: how many

    Members
    -------
    bus:   AXI4-Lite, from the subordinate's view
    pages: array of AXI4-Lite, each to the registers of a core
    """

    def __init__(self, cores: int):
        super().__init__({
            "bus": Out(axi_lite_signature(ADDRESS_BITS + ceil_log2(cores))),
            "pages": In(AxiLiteSignature).array(cores),
        })

    def elaborate(self, platform):
        m = Module()
        self._writes(m)
        self._reads(m)
        return m

    def _writes(self, m: Module) -> None:
        bus, pages = self.bus, self.pages
        address = Signal.like(bus.awaddr, reset_less=True)
        have_address, have_data = Signal(), Signal()
        to_address, to_data = Signal(), Signal()  # that the core has not taken yet
        m.d.comb += [bus.awready.eq(~have_address), bus.wready.eq(~have_data)]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address.eq(bus.awaddr), have_address.eq(1), to_address.eq(1)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [have_data.eq(1), to_data.eq(1)]
            for page in pages:
                m.d.sync += [page.wdata.eq(bus.wdata), page.wstrb.eq(bus.wstrb)]
        number = address[ADDRESS_BITS:]
        open_ = have_address & have_data & ~bus.bvalid
        for index, page in enumerate(pages):
            mine = open_ & (number == index)
            m.d.comb += [
                page.awaddr.eq(address), page.awvalid.eq(mine & to_address), page.wvalid.eq(mine & to_data),
                page.bready.eq(mine),
            ]
            with m.If(mine & page.awready):
                m.d.sync += to_address.eq(0)
            with m.If(mine & page.wready):
                m.d.sync += to_data.eq(0)
            with m.If(mine & page.bvalid):
                m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(page.bresp)]
        with m.If(open_ & (number >= len(pages))):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(_SLVERR)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += [bus.bvalid.eq(0), have_address.eq(0), have_data.eq(0)]

    def _reads(self, m: Module) -> None:
        bus, pages = self.bus, self.pages
        address = Signal.like(bus.araddr, reset_less=True)
        have_address, to_address = Signal(), Signal()
        m.d.comb += bus.arready.eq(~have_address)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [address.eq(bus.araddr), have_address.eq(1), to_address.eq(1)]
        number = address[ADDRESS_BITS:]
        open_ = have_address & ~bus.rvalid
        for index, page in enumerate(pages):
            mine = open_ & (number == index)
            m.d.comb += [page.araddr.eq(address), page.arvalid.eq(mine & to_address), page.rready.eq(mine)]
            with m.If(mine & page.arready):
                m.d.sync += to_address.eq(0)
            with m.If(mine & page.rvalid):
                m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(page.rdata), bus.rresp.eq(page.rresp)]
        with m.If(open_ & (number >= len(pages))):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(0), bus.rresp.eq(_SLVERR)]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += [bus.rvalid.eq(0), have_address.eq(0)]
