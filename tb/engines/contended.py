"""The drain engine beside readers that take banks of L0C and O from it."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amla.rtl.config import CoreConfig
from amla.rtl.engines.drain import Drain

__all__ = ["ContendedDrain"]


class ContendedDrain(wiring.Component):
    """:class:`Drain` with ``l0c_taken`` and ``o_taken``, a bit per bank, in place of its ready inputs.

    **Latency**: none.
    """

    def __init__(self, config: CoreConfig):
        self._drain = Drain(config)
        ports = {name: member for name, member in self._drain.signature.members.items()
                 if name not in ("l0c_ready", "o_ready")}
        super().__init__({**ports, "l0c_taken": In(2), "o_taken": In(2)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.drain = drain = self._drain
        for name in self.signature.members:
            if not name.endswith("_taken"):
                _connect(m, getattr(self, name), getattr(drain, name), drain.signature.members[name])
        m.d.comb += [
            drain.l0c_ready.eq(~self.l0c_taken.bit_select(drain.l0c.addr[0], 1)),
            drain.o_ready.eq(~self.o_taken.bit_select(drain.o_read.addr[0], 1)),
        ]
        return m


def _connect(m, outer, inner, member):
    if member.is_signature:
        wiring.connect(m, wiring.flipped(outer), inner)
    else:
        m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
