"""Proofs of the read arbiter: no client starves, no burst or beat is lost, changed or sent to another client."""

import types

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.hdl import Assert, Assume
from amaranth.lib.wiring import In

from .proof import Bug, Proof, Wrapper

__all__ = ["PROOFS"]

#: Three clients leave one ARID without a client, and a turn that is neither first nor last.
_CLIENTS = 3
_ADDRESS_BITS, _DATA_BITS, _ID_BITS = 12, 8, 1


class _Arbiter(Wrapper):
    """The arbiter between managers that hold a request until it is taken and a bus that does what it likes."""

    def __init__(self, rtl: types.ModuleType, **inputs):
        self.unit = rtl.ReadArbiter(_ADDRESS_BITS, _DATA_BITS, clients=_CLIENTS, id_bits=_ID_BITS)
        super().__init__({
            "valid": In(_CLIENTS), "address": In(_ADDRESS_BITS).array(_CLIENTS), "len": In(8).array(_CLIENTS),
            "id": In(_ID_BITS).array(_CLIENTS), "ready": In(_CLIENTS), "arready": In(1),
            "rid": In(2 + _ID_BITS), "rdata": In(_DATA_BITS), "rresp": In(2), "rlast": In(1), "rvalid": In(1), **inputs,
        })

    def place(self, m: Module) -> Signal:
        """Connect the unit; return which clients' requests are taken in this cycle."""
        m.submodules.unit = unit = self.unit
        taken, waited = Signal(_CLIENTS), Signal(_CLIENTS)
        for number, client in enumerate(unit.clients):
            m.d.comb += [
                client.ar.valid.eq(self.valid[number]), client.ar.payload.address.eq(self.address[number]),
                client.ar.payload.len.eq(self.len[number]), client.ar.payload.id.eq(self.id[number]),
                client.r.ready.eq(self.ready[number]),
                taken[number].eq(client.ar.ready & self.valid[number]),
            ]
            before = Signal(_ADDRESS_BITS, name=f"before_{number}")
            m.d.sync += [waited[number].eq(self.valid[number] & ~taken[number]), before.eq(self.address[number])]
            m.d.comb += Assume(~waited[number] | (self.valid[number] & (self.address[number] == before)))
        beat = unit.bus.r
        m.d.comb += [
            unit.bus.ar.ready.eq(self.arready), beat.valid.eq(self.rvalid),
            *(beat.payload[name].eq(getattr(self, f"r{name}")) for name in ("id", "data", "resp", "last")),
        ]
        return taken


class _Fair(_Arbiter):
    """Between a client's request and its turn, every other client is served at most once."""

    def __init__(self, rtl: types.ModuleType):
        super().__init__(rtl, client=In(range(_CLIENTS)))

    def check(self, m):
        taken = self.place(m)
        requests = self.unit.bus.ar
        served = requests.payload.id[_ID_BITS:]
        chosen, watching, others = Signal(range(_CLIENTS)), Signal(), Signal(range(_CLIENTS + 1))
        watched = Mux(watching, chosen, self.client)
        m.d.sync += [chosen.eq(watched), watching.eq(0), others.eq(0)]
        with m.If((self.valid & ~taken).bit_select(watched, 1)):
            m.d.sync += [watching.eq(1), others.eq(others + taken.any())]
        m.d.comb += [
            Assert(others < _CLIENTS, "every other client at most once"),
            Assert((taken & (taken - 1)) == 0, "one request a cycle"),
            Assert(~self.valid.any() | (requests.valid & ~self.arready) | taken.any(), "never idle beside a request"),
            Assert(watching | (others == 0)),
            Assert(~watching | (chosen < _CLIENTS)),
            Assert(served < _CLIENTS),
        ]
        for client in range(_CLIENTS):
            for last in range(_CLIENTS):
                before = (client - last - 1) % _CLIENTS
                with m.If(watching & (chosen == client) & (served == last)):
                    m.d.comb += Assert(before + others < _CLIENTS)


class _Routes(_Arbiter):
    """A burst appears on the bus as it was asked, under its client's ID, until taken; a beat goes to its client."""

    def __init__(self, rtl: types.ModuleType):
        super().__init__(rtl)

    def check(self, m):
        taken = self.place(m)
        unit = self.unit
        requests, beats = unit.bus.ar, unit.bus.r
        valid = Signal()
        burst = Signal(2 + _ID_BITS + _ADDRESS_BITS + 8)
        shown = Signal.like(burst)
        m.d.comb += shown.eq(_pack(requests.payload.id, requests.payload.address, requests.payload.len))
        with m.If(~valid | self.arready):
            m.d.sync += valid.eq(taken.any())
        for number in range(_CLIENTS):
            with m.If(taken[number]):
                m.d.sync += burst.eq(_pack(Cat(self.id[number], Const(number, 2)), self.address[number],
                                           self.len[number]))
                m.d.comb += Assert(~valid | self.arready, "no burst overwrites another")
        m.d.comb += [
            Assert(requests.valid == valid, "every burst once"),
            Assert(~valid | (shown == burst), "the burst of its client, unchanged"),
        ]
        for number, client in enumerate(unit.clients):
            m.d.comb += [
                Assert(client.r.valid == (self.rvalid & (self.rid[_ID_BITS:] == number)), "a beat at its client only"),
                Assert(client.r.payload.data == self.rdata),
                Assert(client.r.payload.resp == self.rresp),
                Assert(client.r.payload.last == self.rlast),
                Assert(client.r.payload.id == self.rid[:_ID_BITS]),
            ]
        ready = Array([*self.ready, 1])[self.rid[_ID_BITS:]]
        m.d.comb += Assert(beats.ready == ready, "taken when its client takes it; dropped if it is nobody's")


def _pack(number, address, length):
    return (number << (_ADDRESS_BITS + 8)) | (address << 8) | length


def _bug(old: str, new: str, says: str) -> Bug:
    return Bug(module="amla.rtl.host.axi", old=old, new=new, says=says)


PROOFS = (
    Proof(name="arbiter-fair", quick=True, build=_Fair, cycles=8, induction=1,
          bug=_bug("Mux(later.any(), later & -later, requests & -requests)", "requests & -requests",
                   "fixed priority instead of round robin"),
          says=f"{_CLIENTS} clients: while one waits, every other is served at most once; never idle beside a request"),
    Proof(name="arbiter-routes", build=_Routes, cycles=6, induction=1,
          bug=_bug("number = bus.payload.id[id_bits:]", "number = bus.payload.id[:-id_bits]",
                   "beats go to the client that the wrong end of their ID names"),
          says="bursts reach the bus once, unchanged, under their client's ID; beats reach their client only"),
    Proof(name="arbiter-holds", build=_Routes, cycles=6, induction=1,
          bug=_bug("free.eq((~bus.valid | bus.ready) & room)", "free.eq(1)",
                   "a burst is replaced before the bus took it"),
          says="the same claim; its twin plants another bug"),
)
