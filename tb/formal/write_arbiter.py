"""Proof of the write arbiter: beats pass in the order of the bursts taken, once, unchanged, and answers go home."""

import types

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.hdl import Assert
from amaranth.lib.wiring import In

from .proof import Bug, Proof, Wrapper

__all__ = ["PROOFS"]

#: Three clients leave one BID without a client.
_CLIENTS = 3
_ADDRESS_BITS, _DATA_BITS, _ID_BITS = 12, 8, 1
_BURST_BITS, _BEAT_BITS = _ADDRESS_BITS + 8 + _ID_BITS, _DATA_BITS + 1 + 1

#: Of the queue that holds whose beats pass, one-hot.
_REGISTERS = {"order.first": _CLIENTS, "order.second": _CLIENTS, "order.waits": 1, "order.o__valid": 1}


class _Order(Wrapper):
    """Everything is free in every cycle; the bursts taken whose beats have not all passed are noted beside."""

    def __init__(self, rtl: types.ModuleType):
        self.unit = rtl.WriteArbiter(_ADDRESS_BITS, _DATA_BITS, clients=_CLIENTS, id_bits=_ID_BITS)
        super().__init__({
            "burst": In(_BURST_BITS).array(_CLIENTS), "burst_valid": In(_CLIENTS), "awready": In(1),
            "beat": In(_BEAT_BITS).array(_CLIENTS), "beat_valid": In(_CLIENTS), "wready": In(1),
            "bid": In(2 + _ID_BITS), "bresp": In(2), "bvalid": In(1), "bready": In(_CLIENTS),
        }, _REGISTERS)

    def check(self, m: Module) -> None:
        m.submodules.unit = unit = self.unit
        aw, w, b = unit.bus.aw, unit.bus.w, unit.bus.b
        m.d.comb += [aw.ready.eq(self.awready), w.ready.eq(self.wready), b.valid.eq(self.bvalid),
                     b.payload.id.eq(self.bid), b.payload.resp.eq(self.bresp)]
        taken = Signal(_CLIENTS)
        for number, client in enumerate(unit.clients):
            m.d.comb += [
                client.aw.payload.eq(self.burst[number]), client.aw.valid.eq(self.burst_valid[number]),
                client.w.payload.eq(self.beat[number]), client.w.valid.eq(self.beat_valid[number]),
                client.b.ready.eq(self.bready[number]), taken[number].eq(client.aw.valid & client.aw.ready),
            ]
        number = Signal(range(_CLIENTS))
        for client in range(_CLIENTS):
            with m.If(taken[client]):
                m.d.comb += number.eq(client)

        # The clients whose beats are to come, the oldest burst's first.
        open_, owner, following = Signal(range(3)), Signal(range(_CLIENTS)), Signal(range(_CLIENTS))
        passes, ends = Signal(), Signal()
        m.d.comb += [passes.eq(w.valid & self.wready), ends.eq(passes & w.payload.last)]
        m.d.sync += open_.eq(open_ + taken.any() - ends)
        with m.If(ends):
            m.d.sync += owner.eq(Mux(open_ == 2, following, number))
        with m.Elif(open_ == 0):
            m.d.sync += owner.eq(number)
        with m.If(taken.any()):
            m.d.sync += following.eq(number)

        m.d.comb += [
            Assert((taken & (taken - 1)) == 0, "one burst a cycle"),
            Assert((open_ < 2) | ~taken.any(), "no third burst"),
            Assert(w.valid == ((open_ != 0) & self.beat_valid.bit_select(owner, 1)), "beats of the oldest burst"),
            Assert(~w.valid | (w.payload.as_value() == Array(self.beat)[owner]), "unchanged"),
        ]
        for index, client in enumerate(unit.clients):
            m.d.comb += [
                Assert(client.w.ready == (self.wready & (open_ != 0) & (owner == index)), "taken from its client only"),
                Assert(client.b.valid == (self.bvalid & (self.bid[_ID_BITS:] == index)), "answers go home"),
                Assert(client.b.payload.as_value() == Cat(self.bresp, self.bid[:_ID_BITS])),
            ]
        m.d.comb += Assert(b.ready == Array([*self.bready, 1])[self.bid[_ID_BITS:]], "dropped if it is nobody's")

        # On the bus: each burst once, under its client's ID, until taken.
        shown, valid = Signal(_BURST_BITS + 2), Signal()
        with m.If(taken.any()):
            own = Array(self.burst)[number]
            m.d.sync += [shown.eq(Cat(own, number)), valid.eq(1)]
        with m.Elif(self.awready):
            m.d.sync += valid.eq(0)
        m.d.comb += [
            Assert(~taken.any() | ~valid | self.awready, "no burst overwrites another"),
            Assert(aw.valid == valid, "every burst once"), Assert(~valid | (aw.payload.as_value() == shown)),
        ]

        # What makes it inductive: the queue holds what is noted.
        first, second = (Const(1, _CLIENTS) << client for client in (owner, following))
        m.d.comb += [
            Assert(open_ < 3), Assert(owner < _CLIENTS), Assert(following < _CLIENTS),
            Assert(self.at("order.o__valid") == (open_ != 0)), Assert(self.at("order.waits") == (open_ == 2)),
            Assert((open_ == 0) | (self.at("order.first") == first[:_CLIENTS])),
            Assert((open_ != 2) | (self.at("order.second") == second[:_CLIENTS])),
        ]


def _bug(old: str, new: str, says: str) -> Bug:
    return Bug(module="amla.rtl.cluster.write_arbiter", old=old, new=new, says=says)


PROOFS = (
    Proof(name="write-order", quick=True, build=_Order, cycles=8, induction=1,
          bug=_bug("order.o.ready.eq(bus.valid & bus.ready & bus.payload.last)", "order.o.ready.eq(bus.ready)",
                   "the turn passes before the burst's last beat"),
          says=f"{_CLIENTS} clients: beats pass in the order of the bursts taken, once, unchanged; answers go home"),
    Proof(name="write-room", build=_Order, cycles=8, induction=1,
          bug=_bug("room=order.i.ready", "room=1", "a burst is taken that nobody remembers"),
          says="the same claim; its twin plants another bug"),
)
