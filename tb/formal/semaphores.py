"""Proofs of the semaphores: counts, grants, fairness, for the core's own number of clients."""

import types

from amaranth import Array, Cat, Module, Signal, signed
from amaranth.hdl import Assert, Assume
from amaranth.lib.wiring import In
from amla.rtl.isa import SEMAPHORE_MAX, SEMAPHORES, Engine

from .proof import Bug, Proof, Wrapper

__all__ = ["PROOFS"]

_CLIENTS = len(Engine)


class _Semaphores(Wrapper):
    """The unit with every input free, and one counter per semaphore kept from outside.

    A request may be withdrawn, but not change before it is granted. Of the unit's registers the invariants need its
    counters, the client that it chose last, and the grant of this cycle with the semaphores that it takes.
    """

    def __init__(self, rtl: types.ModuleType, **inputs):
        self.unit = rtl.Semaphores(clients=_CLIENTS)
        super().__init__({
            "request": In(_CLIENTS), "wait": In(SEMAPHORES).array(_CLIENTS),
            "strobe": In(_CLIENTS), "signal": In(SEMAPHORES).array(_CLIENTS), **inputs,
        }, {
            "last": range(_CLIENTS), "granted": _CLIENTS, "taking": SEMAPHORES,
            **{f"counter_{i}": range(SEMAPHORE_MAX + 1) for i in range(SEMAPHORES)},
        })

    def place(self, m: Module) -> tuple[Signal, Signal]:
        """Connect the unit; return the grants and the requests whose counters all hold a token."""
        m.submodules.unit = self.unit
        grant, ready = Signal(_CLIENTS), Signal(_CLIENTS)
        for client, port in enumerate(self.unit.port):
            m.d.comb += [
                port.request.eq(self.request[client]), port.wait.eq(self.wait[client]),
                port.strobe.eq(self.strobe[client]), port.signal.eq(self.signal[client]),
                grant[client].eq(port.grant),
            ]
        self.counts = Array(Signal(range(SEMAPHORE_MAX + 1), name=f"count_{i}") for i in range(SEMAPHORES))
        empty = Cat(count == 0 for count in self.counts)
        m.d.comb += ready.eq(Cat(self.request[c] & ((self.wait[c] & empty) == 0) for c in range(_CLIENTS)))
        overflows = Signal(SEMAPHORES)
        for i, count in enumerate(self.counts):
            following = Signal(signed(9), name=f"following_{i}")
            added = sum(self.strobe[c] & self.signal[c][i] for c in range(_CLIENTS))
            taken = sum(grant[c] & self.wait[c][i] for c in range(_CLIENTS))
            m.d.comb += following.eq(count + added - taken)
            m.d.comb += overflows[i].eq(following > SEMAPHORE_MAX)
            m.d.comb += Assert(following >= 0)
            with m.If(~overflows[i]):
                m.d.sync += count.eq(following)
        self.overflowed = Signal()
        m.d.sync += self.overflowed.eq(overflows.any())
        self.withdrawn = Signal(_CLIENTS)
        for client in range(_CLIENTS):
            stands, mask = Signal(name=f"stands_{client}"), Signal(SEMAPHORES, name=f"mask_{client}")
            m.d.sync += [stands.eq(self.request[client] & ~grant[client]), mask.eq(self.wait[client])]
            m.d.comb += Assume(~(stands & self.request[client]) | (self.wait[client] == mask))
            m.d.comb += self.withdrawn[client].eq(stands & ~self.request[client])
            # Invariant: a grant was the last choice, and what it takes is there, if it still stands.
            m.d.comb += Assert(~self.at("granted")[client] | stands & (self.at("last") == client))
            m.d.comb += Assert(~(self.at("granted") & self.request)[client]
                               | ready[client] & (self.at("taking") == self.wait[client]))
        m.d.comb += [Assert(count == self.at(f"counter_{i}")) for i, count in enumerate(self.counts)]
        m.d.comb += Assert(self.at("last") < _CLIENTS)
        return grant, ready


class _Counts(_Semaphores):
    """Every token is counted: what goes in less what is granted is what the unit holds, and never wraps."""

    def check(self, m):
        grant, ready = self.place(m)
        possible = Signal()
        m.d.sync += possible.eq((ready != 0) & (self.at("granted") == 0))
        m.d.comb += [
            Assert((grant & ~ready) == 0, "no grant without every token"),
            Assert((grant & (grant - 1)) == 0, "at most one grant"),
            Assert(~possible | (grant | self.at("granted") & self.withdrawn).any(), "a grant after it was possible"),
            Assert(self.unit.overflow == self.overflowed, "overflow is told"),
        ]


class _Fair(_Semaphores):
    """A client that stays ready is granted within two cycles a client."""

    def __init__(self, rtl: types.ModuleType):
        super().__init__(rtl, client=In(range(_CLIENTS)))

    def check(self, m):
        grant, ready = self.place(m)
        chosen, watching, waited = Signal(range(_CLIENTS)), Signal(), Signal(range(2 * _CLIENTS + 1))
        # The watched client is any: it is drawn in every cycle in which none is watched.
        watched = Signal(range(_CLIENTS))
        m.d.comb += watched.eq(self.client)
        with m.If(watching):
            m.d.comb += watched.eq(chosen)
        m.d.sync += [chosen.eq(watched), watching.eq(0), waited.eq(0)]
        with m.If((ready & ~grant).bit_select(watched, 1)):
            m.d.sync += [watching.eq(1), waited.eq(waited + 1)]
        m.d.comb += Assert(waited < 2 * _CLIENTS, "granted within two cycles a client")
        # Invariant: how many clients are still before the watched one, each with a choice and a grant.
        m.d.comb += Assert(watching | (waited == 0))
        m.d.comb += Assert(~watching | (chosen < _CLIENTS))
        for client in range(_CLIENTS):
            for last in range(_CLIENTS):
                before = (client - last - 1) % _CLIENTS
                with m.If(watching & (chosen == client) & (self.at("last") == last) & ~self.at("granted")[client]):
                    m.d.comb += Assert(2 * before + (self.at("granted") != 0) + waited + 1 < 2 * _CLIENTS)


def _bug(old: str, new: str, says: str) -> Bug:
    return Bug(module="amla.rtl.issue.semaphores", old=old, new=new, says=says)


PROOFS = (
    Proof(name="semaphores-counts", build=_Counts, cycles=4, induction=1,
          bug=_bug("following > SEMAPHORE_MAX", "following > SEMAPHORES", "a counter stops early"),
          says="no token lost or made, none granted that is not there, one grant a cycle, no counter wraps"),
    Proof(name="semaphores-grants", quick=True, build=_Counts, cycles=4, induction=1,
          bug=_bug("~(port.wait & ~available).any()", "~(port.wait[1:] & ~available[1:]).any()",
                   "semaphore 0 is granted without a token"),
          says="the same claim; its twin plants another bug"),
    Proof(name="semaphores-fair", build=_Fair, cycles=2 * _CLIENTS + 3, induction=1,
          bug=_bug("client = (start + offset) % self.clients", "client = offset - 1",
                   "fixed priority instead of round robin"),
          says=f"no starvation: a request that stays ready is granted within {2 * _CLIENTS} cycles"),
)
