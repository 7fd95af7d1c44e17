"""Shares one AXI4 write port among managers."""

from amaranth import Module
from amaranth.hdl import Cat
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..host.axi import WriteSignature, arbitrate, check_clients, route, selected
from .register_slice import RegisterSlice

__all__ = ["WriteArbiter"]


class WriteArbiter(wiring.Component):
    """Round robin on AW, the client's number above its own ID; W in the order of the bursts taken; B by ID.

    At most two bursts are taken whose beats have not all passed.

    **Latency**: AW one cycle, W and B none; a burst's first beat passes a cycle after its AW is taken. **Throughput**:
    one AW, one W beat, one B per cycle. A client that requests is served after at most one burst of every other client.
    A response whose BID is no client's is accepted and dropped.

    Parameters
    ----------
    address_bits: width of addresses
    data_bits:    width of a beat
    clients:      number of managers
    id_bits:      width of the clients' IDs; 0: they have none

    Members
    -------
    clients: array of ``In(WriteSignature)``, the clients' ports
    bus:     ``Out(WriteSignature)`` with IDs

    Raises
    ------
    ValueError: a width that AXI does not know, or fewer than two clients.
    """

    def __init__(self, address_bits: int, data_bits: int, clients: int = 2, *, id_bits: int = 0):
        check_clients(clients)
        self._id_bits = id_bits
        super().__init__({
            "clients": In(WriteSignature(address_bits, data_bits, id_bits)).array(clients),
            "bus": Out(WriteSignature(address_bits, data_bits, id_bits + ceil_log2(clients))),
        })

    def elaborate(self, platform):
        m = Module()
        beats = [client.w for client in self.clients]
        m.submodules.order = order = RegisterSlice(len(beats))  # whose beats pass, one-hot
        taken = arbitrate(m, [client.aw for client in self.clients], self.bus.aw, self._id_bits, room=order.i.ready)
        sender, bus = order.o.payload & order.o.valid.replicate(len(beats)), self.bus.w
        m.d.comb += [
            order.i.payload.eq(taken), order.i.valid.eq(taken.any()),
            bus.valid.eq((sender & Cat(beat.valid for beat in beats)).any()),
            *(bus.payload[name].eq(selected(sender, (beat.payload[name] for beat in beats)))
              for name in ("data", "strb", "last")),
            *(beat.ready.eq(bit & bus.ready) for bit, beat in zip(sender, beats, strict=True)),
            order.o.ready.eq(bus.valid & bus.ready & bus.payload.last),
        ]
        route(m, self.bus.b, [client.b for client in self.clients], self._id_bits)
        return m
