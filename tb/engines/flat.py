"""Gives a component's AXI port the flat AXI4 names that :class:`~amla.tb.host.axi.AxiMemory` answers."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amla.rtl.host.axi import ReadSignature, WriteSignature, axi4_ports, connect_axi4

__all__ = ["FlatAxi"]

class FlatAxi(wiring.Component):
    """``component`` with its ports of streams, one for reads, one for writes, or one of each, as ``m_axi_*``.

    **Latency**: none. The other ports keep their names; the channels that the component lacks stay idle.
    """

    def __init__(self, component: wiring.Component, *, address_bits: int, data_bytes: int):
        self._component = component
        self._axi = {"read" if isinstance(member.signature, ReadSignature) else "write": getattr(component, name)
                     for name, member in component.signature.members.items() if _is_axi(member)}
        addresses = self._axi["read"].ar if "read" in self._axi else self._axi["write"].aw
        fields = addresses.payload.shape().members
        super().__init__({
            **{name: member for name, member in component.signature.members.items() if not _is_axi(member)},
            **axi4_ports(address_bits, 8 * data_bytes, fields["id"].width if "id" in fields else 1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = inner = self._component
        for name, member in inner.signature.members.items():
            if not _is_axi(member):
                self._pass(m, getattr(self, name), getattr(inner, name), member)
        connect_axi4(m, self, **self._axi, outwards=True)
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


def _is_axi(member: wiring.Member) -> bool:
    return not (member.is_port or member.dimensions) and isinstance(member.signature, ReadSignature | WriteSignature)
