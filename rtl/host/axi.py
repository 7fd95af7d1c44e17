"""AXI4 as streams, what shares one port among managers, and the usual names at the border of a core.

Engines speak streams: a burst address, then data beats. Bursts are INCR, aligned to the beat, at most 256
beats long and never cross a 4 KiB boundary; ARSIZE, ARBURST and their like are constants, driven where streams
become a port.
"""

import enum
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.hdl import Const, Mux, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

__all__ = ["ReadArbiter", "ReadSignature", "Response", "WriteSignature", "arbitrate", "axi4_ports", "check_clients",
           "connect_axi4", "route", "selected"]

_BURST_INCR = 1
_CACHE_NORMAL = 0b0011

#: Channel -> payload as AXI abbreviates it behind the channel's name -> field of the stream.
_FIELDS = {
    **{channel: {"id": "id", "addr": "address", "len": "len"} for channel in ("ar", "aw")},
    "r": {"id": "id", "data": "data", "resp": "resp", "last": "last"},
    "w": {"data": "data", "strb": "strb", "last": "last"},
    "b": {"id": "id", "resp": "resp"},
}


class Response(enum.IntEnum):
    """RRESP and BRESP."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _check_widths(address_bits: int, data_bits: int, id_bits: int) -> None:
    if not isinstance(address_bits, int) or not 12 <= address_bits <= 64:
        raise ValueError(f"address_bits must be an integer from 12 to 64, not {address_bits!r}")
    if not isinstance(data_bits, int) or data_bits not in (8, 16, 32, 64, 128, 256, 512, 1024):
        raise ValueError(f"data_bits must be a power of two from 8 to 1024, not {data_bits!r}")
    if not isinstance(id_bits, int) or not 0 <= id_bits <= 32:
        raise ValueError(f"id_bits must be an integer from 0 to 32, not {id_bits!r}")


class _BusSignature(wiring.Signature):
    """A signature that equals another of its class with the same parameters."""

    def __init__(self, parameters: tuple[int, ...], members: dict):
        self._parameters = parameters
        super().__init__(members)

    def __eq__(self, other):
        return type(other) is type(self) and other._parameters == self._parameters

    def __repr__(self):
        return f"{type(self).__name__}{self._parameters}"


def _channel(members: dict[str, int], id_bits: int) -> stream.Signature:
    """A stream of ``members`` and, last, an ID where there is one."""
    members = members | ({"id": id_bits} if id_bits else {})
    return stream.Signature(data.StructLayout({name: unsigned(width) for name, width in members.items()}))


class ReadSignature(_BusSignature):
    """Read channels of a manager.

    Parameters
    ----------
    address_bits: width of addresses
    data_bits:    width of a beat
    id_bits:      width of IDs; 0: a manager without

    Members
    -------
    ar: ``Out(stream)`` of {address, len[, id]}: the burst's first byte and its beats minus one
    r:  ``In(stream)`` of {data, resp, last[, id]}

    Raises
    ------
    ValueError: a width that AXI does not know.
    """

    def __init__(self, address_bits: int, data_bits: int, id_bits: int = 0):
        _check_widths(address_bits, data_bits, id_bits)
        super().__init__((address_bits, data_bits, id_bits), {
            "ar": Out(_channel({"address": address_bits, "len": 8}, id_bits)),
            "r": In(_channel({"data": data_bits, "resp": 2, "last": 1}, id_bits)),
        })


class WriteSignature(_BusSignature):
    """Write channels of a manager; responses of one ID come in the order of the bursts.

    Parameters
    ----------
    address_bits: width of addresses
    data_bits:    width of a beat
    id_bits:      width of IDs; 0: a manager without

    Members
    -------
    aw: ``Out(stream)`` of {address, len[, id]}: the burst's first byte and its beats minus one
    w:  ``Out(stream)`` of {data, strb, last}
    b:  ``In(stream)`` of {resp[, id]}

    Raises
    ------
    ValueError: a width that AXI does not know.
    """

    def __init__(self, address_bits: int, data_bits: int, id_bits: int = 0):
        _check_widths(address_bits, data_bits, id_bits)
        super().__init__((address_bits, data_bits, id_bits), {
            "aw": Out(_channel({"address": address_bits, "len": 8}, id_bits)),
            "w": Out(_channel({"data": data_bits, "strb": data_bits // 8, "last": 1}, 0)),
            "b": In(_channel({"resp": 2}, id_bits)),
        })


def axi4_ports(address_bits: int, data_bits: int, id_bits: int) -> dict[str, Any]:
    """Members ``m_axi_*`` of an AXI4 manager, by their usual names."""
    ports: dict[str, Any] = {}
    for channel in ("ar", "aw"):
        ports |= {
            f"m_axi_{channel}id": Out(id_bits), f"m_axi_{channel}addr": Out(address_bits),
            f"m_axi_{channel}len": Out(8), f"m_axi_{channel}size": Out(3), f"m_axi_{channel}burst": Out(2),
            f"m_axi_{channel}cache": Out(4), f"m_axi_{channel}prot": Out(3), f"m_axi_{channel}valid": Out(1),
            f"m_axi_{channel}ready": In(1),
        }
    return ports | {
        "m_axi_rid": In(id_bits), "m_axi_rdata": In(data_bits), "m_axi_rresp": In(2), "m_axi_rlast": In(1),
        "m_axi_rvalid": In(1), "m_axi_rready": Out(1),
        "m_axi_wdata": Out(data_bits), "m_axi_wstrb": Out(data_bits // 8), "m_axi_wlast": Out(1),
        "m_axi_wvalid": Out(1), "m_axi_wready": In(1),
        "m_axi_bid": In(id_bits), "m_axi_bresp": In(2), "m_axi_bvalid": In(1), "m_axi_bready": Out(1),
    }


def connect_axi4(m: Module, port: Any, *, read: Any = None, write: Any = None, outwards: bool) -> None:
    """Connect channels as streams to a port of :func:`axi4_ports`; what has no counterpart is left alone.

    Parameters
    ----------
    port:        what has the members ``m_axi_*``
    read, write: interfaces of :class:`ReadSignature` and :class:`WriteSignature`, or None
    outwards:    the streams' requests leave by ``port``, which gets the constants too; else those of ``port`` enter
                 the streams
    """
    for channel, names in _FIELDS.items():
        interface = read if channel in ("ar", "r") else write
        if interface is None:
            continue
        channel_stream = getattr(interface, channel)
        payload = channel_stream.payload
        pairs = [(getattr(port, f"m_axi_{channel}valid"), channel_stream.valid)]
        pairs += [(getattr(port, f"m_axi_{channel}{flat}"), payload[name]) for flat, name in names.items()
                  if name in payload.shape().members]
        to_port = outwards == (channel in ("ar", "aw", "w"))
        ready = getattr(port, f"m_axi_{channel}ready")
        m.d.comb += [flat.eq(inner) if to_port else inner.eq(flat) for flat, inner in pairs]
        m.d.comb += channel_stream.ready.eq(ready) if to_port else ready.eq(channel_stream.ready)
    if outwards:
        for channel in ("ar", "aw"):
            m.d.comb += [
                getattr(port, f"m_axi_{channel}size").eq(exact_log2(len(port.m_axi_rdata) // 8)),
                getattr(port, f"m_axi_{channel}burst").eq(_BURST_INCR),
                getattr(port, f"m_axi_{channel}cache").eq(_CACHE_NORMAL),
            ]


def next_turn(m: Module, requests: Value, served: Value) -> Signal:
    """Round robin: of ``requests`` the first behind number ``served``, which itself comes last; one-hot, or zero."""
    later, turn = Signal(len(requests)), Signal(len(requests))
    m.d.comb += [
        later.eq(requests & Cat(Const(0, 1), *(served < number for number in range(1, len(requests))))),
        turn.eq(Mux(later.any(), later & -later, requests & -requests)),
    ]
    return turn


def selected(one_hot: Value, values: Iterable[Any]) -> Value:
    """The value whose bit of ``one_hot`` is set; zero without."""
    return reduce(or_, (Value.cast(value) & bit.replicate(len(Value.cast(value)))
                        for bit, value in zip(one_hot, values, strict=True)))


class ReadArbiter(wiring.Component):
    """Shares one AXI4 read port among managers: round robin on AR, the client's number above its own ID, R by ID.

    **Latency**: AR one cycle, R none. **Throughput**: one AR and one R beat per cycle. A client that
    requests is served after at most one burst of every other client. Beats of different clients may
    interleave; a beat whose RID is no client's is accepted and dropped.

    Parameters
    ----------
    address_bits: width of addresses
    data_bits:    width of a beat
    clients:      number of managers
    id_bits:      width of the clients' IDs; 0: they have none

    Members
    -------
    clients: array of ``In(ReadSignature)``, the clients' ports
    bus:     ``Out(ReadSignature)`` with IDs

    Raises
    ------
    ValueError: a width that AXI does not know, or fewer than two clients.
    """

    def __init__(self, address_bits: int, data_bits: int, clients: int = 2, *, id_bits: int = 0):
        check_clients(clients)
        self._id_bits = id_bits
        super().__init__({
            "clients": In(ReadSignature(address_bits, data_bits, id_bits)).array(clients),
            "bus": Out(ReadSignature(address_bits, data_bits, id_bits + ceil_log2(clients))),
        })

    def elaborate(self, platform):
        m = Module()
        arbitrate(m, [client.ar for client in self.clients], self.bus.ar, self._id_bits)
        route(m, self.bus.r, [client.r for client in self.clients], self._id_bits)
        return m


def check_clients(clients: int) -> None:
    """Raise ValueError unless there are two clients or more."""
    if not isinstance(clients, int) or clients < 2:
        raise ValueError(f"clients must be an integer of at least 2, not {clients!r}")


def arbitrate(m: Module, clients: Sequence[Any], bus: Any, id_bits: int, *, room: Value | int = 1) -> Signal:
    """Bursts of the clients' address streams to ``bus``, in turns, registered; ``room`` to take one in this cycle.

    Returns, one-hot, whose burst is taken.
    """
    turn = next_turn(m, Cat(client.valid for client in clients), bus.payload.id[id_bits:])
    free, taken = Signal(), Signal(len(clients))
    m.d.comb += [
        free.eq((~bus.valid | bus.ready) & room),
        taken.eq(turn & free.replicate(len(clients))),
        *(client.ready.eq(bit) for client, bit in zip(clients, taken, strict=True)),
    ]
    with m.If(taken.any()):
        m.d.sync += [bus.valid.eq(1), *_burst(bus.payload, clients, turn, id_bits)]
    with m.Elif(bus.ready):
        m.d.sync += bus.valid.eq(0)
    return taken


def _burst(payload: Any, clients: Sequence[Any], turn: Value, id_bits: int) -> list:
    number = selected(turn, (Const(number, ceil_log2(len(clients))) for number in range(len(clients))))
    own = selected(turn, (client.payload.id for client in clients)) if id_bits else Const(0, 0)
    return [payload[name].eq(selected(turn, (client.payload[name] for client in clients)))
            for name in ("address", "len")] + [payload.id.eq(Cat(own, number))]


def route(m: Module, bus: Any, clients: Sequence[Any], id_bits: int) -> None:
    """Answers of ``bus`` to the client that the upper bits of their ID name; those of nobody are dropped."""
    number = bus.payload.id[id_bits:]
    m.d.comb += bus.ready.eq(1)
    for index, client in enumerate(clients):
        m.d.comb += [client.payload[name].eq(bus.payload[name]) for name in client.payload.shape().members
                     if name != "id"]
        if id_bits:
            m.d.comb += client.payload.id.eq(bus.payload.id[:id_bits])
        with m.If(number == index):
            m.d.comb += [client.valid.eq(bus.valid), bus.ready.eq(client.ready)]
