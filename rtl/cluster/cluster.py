"""A cluster: cores that share a memory port and a register port."""

from typing import Any

from amaranth import Module
from amaranth.hdl import Cat
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..core import AmlaCore
from ..emit import Leaf
from ..host.axi import axi4_ports, connect_axi4
from ..host.registers import ADDRESS_BITS, AxiLiteSignature, axi_lite_signature
from .interconnect import Interconnect
from .register_pages import RegisterPages

__all__ = ["MOST_CORES", "AmlaCluster"]

#: Cores of a cluster, at most.
MOST_CORES = 32

_TRACE = ("valid", "start", "end", "start_index", "end_index")


class AmlaCluster(wiring.Component):
    """Cores behind one :class:`Interconnect` and one :class:`RegisterPages`; they share nothing else.

    A core runs, fails and is reset by itself: what the others do shows in its cycles only. Ordering between cores is
    the host's, by interrupts: a core's writes are in memory when its interrupt rises.

    **Latency**: memory is four cycles further away than from a core alone. **Throughput**: of all cores together one
    beat a cycle each way.

    Parameters
    ----------
    config: of every core
    cores:  from 1 to 32; one core has the ports to itself, without interconnect

    Members
    -------
    s_axil_*:    AXI4-Lite subordinate: the registers of core i from address i · 4096 on
    m_axi_*:     AXI4 manager, all data; the core's number above its own ID of one bit
    irq:         a bit per core
    trace<i>_*:  start and end of every command of core i, as of :class:`~amla.rtl.core.AmlaCore`

    Raises
    ------
    ValueError: a number of cores that is none.
    """

    def __init__(self, config: CoreConfig, *, cores: int):
        if type(cores) is not int or not 1 <= cores <= MOST_CORES:
            raise ValueError(f"cores must be an integer from 1 to {MOST_CORES}, not {cores!r}")
        self.config = config
        self._cores: list[Any] = [Leaf(AmlaCore(config)) for _ in range(cores)]
        members = self._cores[0].signature.members
        number_bits = ceil_log2(cores)
        super().__init__({
            **{f"s_axil_{name}": member
               for name, member in axi_lite_signature(ADDRESS_BITS + number_bits).members.items()},
            **axi4_ports(config.axi_address_bits, 8 * config.axi_data_bytes, 1 + number_bits),
            "irq": Out(cores),
            **{f"trace{number}_{name}": members[f"trace_{name}"] for number in range(cores) for name in _TRACE},
        })

    def elaborate(self, platform):
        m = Module()
        cores = self._cores
        m.submodules.register_pages = pages = RegisterPages(len(cores))
        for name, member in pages.bus.signature.members.items():
            inner, outer = getattr(pages.bus, name), getattr(self, f"s_axil_{name}")
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        m.d.comb += self.irq.eq(Cat(core.irq for core in cores))
        for number, core in enumerate(cores):
            m.submodules[f"core_{number}"] = core
            for name, member in AxiLiteSignature.members.items():
                inner, outer = getattr(core, f"s_axil_{name}"), getattr(pages.pages[number], name)
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
            m.d.comb += [getattr(self, f"trace{number}_{name}").eq(getattr(core, f"trace_{name}")) for name in _TRACE]
        if len(cores) == 1:
            for name, member in self.signature.members.items():
                if name.startswith("m_axi_"):
                    inner, outer = getattr(cores[0], name), getattr(self, name)
                    m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
            return m
        m.submodules.interconnect = interconnect = Interconnect(
            self.config.axi_address_bits, 8 * self.config.axi_data_bytes, len(cores))
        for core, manager in zip(cores, interconnect.managers, strict=True):
            connect_axi4(m, core, read=manager.read, write=manager.write, outwards=False)
        connect_axi4(m, self, read=interconnect.read, write=interconnect.write, outwards=True)
        return m
