"""Gives a component's AXI port the flat AXI4 names that :class:`~amla.tb.host.axi.AxiMemory` answers."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amla.rtl.host.axi import Axi4ReadSignature, ReadSignature, WriteSignature

__all__ = ["FlatAxi"]

_BURST_INCR = 1


class FlatAxi(wiring.Component):
    """``component`` with its port ``axi`` (read or write) or ``bus`` (read with IDs) as ``m_axi_*``.

    **Latency**: none. The other ports keep their names; the channels that the component lacks stay idle.
    """

    def __init__(self, component: wiring.Component, *, address_bits: int, data_bytes: int):
        self._component = component
        self._size = data_bytes.bit_length() - 1
        ports = {name: member for name, member in component.signature.members.items()
                 if name not in ("axi", "bus")}
        id_bits = len(component.bus.arid) if hasattr(component, "bus") else 1
        for channel in ("ar", "aw"):
            ports |= {
                f"m_axi_{channel}id": Out(id_bits), f"m_axi_{channel}addr": Out(address_bits),
                f"m_axi_{channel}len": Out(8), f"m_axi_{channel}size": Out(3),
                f"m_axi_{channel}burst": Out(2), f"m_axi_{channel}valid": Out(1),
                f"m_axi_{channel}ready": In(1),
            }
        ports |= {
            "m_axi_rid": In(id_bits), "m_axi_rdata": In(8 * data_bytes), "m_axi_rresp": In(2),
            "m_axi_rlast": In(1), "m_axi_rvalid": In(1), "m_axi_rready": Out(1),
            "m_axi_wdata": Out(8 * data_bytes), "m_axi_wstrb": Out(data_bytes), "m_axi_wlast": Out(1),
            "m_axi_wvalid": Out(1), "m_axi_wready": In(1),
            "m_axi_bid": In(id_bits), "m_axi_bresp": In(2), "m_axi_bvalid": In(1), "m_axi_bready": Out(1),
        }
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = inner = self._component
        for name, member in inner.signature.members.items():
            if name not in ("axi", "bus"):
                self._pass(m, getattr(self, name), getattr(inner, name), member)
        for channel in ("ar", "aw"):
            m.d.comb += [
                getattr(self, f"m_axi_{channel}size").eq(self._size),
                getattr(self, f"m_axi_{channel}burst").eq(_BURST_INCR),
            ]
        if "bus" in inner.signature.members:
            bus = inner.bus
            assert isinstance(bus.signature, Axi4ReadSignature)
            for name, member in bus.signature.members.items():
                flat = getattr(self, f"m_axi_{name}")
                m.d.comb += flat.eq(getattr(bus, name)) if member.flow is Out else getattr(bus, name).eq(flat)
            return m
        axi = inner.axi
        if isinstance(axi.signature, ReadSignature):
            m.d.comb += [
                self.m_axi_araddr.eq(axi.ar.payload.address), self.m_axi_arlen.eq(axi.ar.payload.len),
                self.m_axi_arvalid.eq(axi.ar.valid), axi.ar.ready.eq(self.m_axi_arready),
                axi.r.payload.data.eq(self.m_axi_rdata), axi.r.payload.resp.eq(self.m_axi_rresp),
                axi.r.payload.last.eq(self.m_axi_rlast), axi.r.valid.eq(self.m_axi_rvalid),
                self.m_axi_rready.eq(axi.r.ready),
            ]
        else:
            assert isinstance(axi.signature, WriteSignature)
            m.d.comb += [
                self.m_axi_awaddr.eq(axi.aw.payload.address), self.m_axi_awlen.eq(axi.aw.payload.len),
                self.m_axi_awvalid.eq(axi.aw.valid), axi.aw.ready.eq(self.m_axi_awready),
                self.m_axi_wdata.eq(axi.w.payload.data), self.m_axi_wstrb.eq(axi.w.payload.strb),
                self.m_axi_wlast.eq(axi.w.payload.last), self.m_axi_wvalid.eq(axi.w.valid),
                axi.w.ready.eq(self.m_axi_wready),
                axi.b.payload.resp.eq(self.m_axi_bresp), axi.b.valid.eq(self.m_axi_bvalid),
                self.m_axi_bready.eq(axi.b.ready),
            ]
        return m

    @staticmethod
    def _pass(m, outer, inner, member):
        """Connect a port of this component to the same port of the inner one."""
        if member.is_port:
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        elif member.dimensions:
            for one_outer, one_inner in zip(outer, inner, strict=True):
                wiring.connect(m, wiring.flipped(one_outer), one_inner)
        else:
            wiring.connect(m, wiring.flipped(outer), inner)
