"""AXI4 as the engines see it, and the arbiter that shares one read port.

Engines speak streams: a burst address, then data beats. Bursts are INCR, aligned to the beat, at most 256
beats long and never cross a 4 KiB boundary; ARSIZE, ARBURST and their like are constants that the core
drives beside these members.
"""

import enum

from amaranth import Array, Module, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Axi4ReadSignature", "ReadArbiter", "ReadSignature", "Response", "WriteSignature"]


class Response(enum.IntEnum):
    """RRESP and BRESP."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _check_widths(address_bits: int, data_bits: int) -> None:
    if not isinstance(address_bits, int) or not 12 <= address_bits <= 64:
        raise ValueError(f"address_bits must be an integer from 12 to 64, not {address_bits!r}")
    if not isinstance(data_bits, int) or data_bits not in (8, 16, 32, 64, 128, 256, 512, 1024):
        raise ValueError(f"data_bits must be a power of two from 8 to 1024, not {data_bits!r}")


class _BusSignature(wiring.Signature):
    """A signature that equals another of its class with the same parameters."""

    def __init__(self, parameters: tuple[int, ...], members: dict):
        self._parameters = parameters
        super().__init__(members)

    def __eq__(self, other):
        return type(other) is type(self) and other._parameters == self._parameters

    def __repr__(self):
        return f"{type(self).__name__}{self._parameters}"


def _address(address_bits: int) -> stream.Signature:
    return stream.Signature(data.StructLayout({"address": unsigned(address_bits), "len": unsigned(8)}))


class ReadSignature(_BusSignature):
    """Read channels of a manager without IDs.

    Parameters
    ----------
    address_bits: width of addresses
    data_bits:    width of a beat

    Members
    -------
    ar: ``Out(stream)`` of {address, len}: the burst's first byte and its beats minus one
    r:  ``In(stream)`` of {data, resp, last}

    Raises
    ------
    ValueError: a width that AXI does not know.
    """

    def __init__(self, address_bits: int, data_bits: int):
        _check_widths(address_bits, data_bits)
        beat = data.StructLayout({"data": unsigned(data_bits), "resp": unsigned(2), "last": unsigned(1)})
        super().__init__((address_bits, data_bits), {
            "ar": Out(_address(address_bits)),
            "r": In(stream.Signature(beat)),
        })


class WriteSignature(_BusSignature):
    """Write channels of a manager without IDs; responses come in the order of the bursts.

    Parameters
    ----------
    address_bits: width of addresses
    data_bits:    width of a beat

    Members
    -------
    aw: ``Out(stream)`` of {address, len}: the burst's first byte and its beats minus one
    w:  ``Out(stream)`` of {data, strb, last}
    b:  ``In(stream)`` of {resp}

    Raises
    ------
    ValueError: a width that AXI does not know.
    """

    def __init__(self, address_bits: int, data_bits: int):
        _check_widths(address_bits, data_bits)
        beat = data.StructLayout({
            "data": unsigned(data_bits), "strb": unsigned(data_bits // 8), "last": unsigned(1),
        })
        super().__init__((address_bits, data_bits), {
            "aw": Out(_address(address_bits)),
            "w": Out(stream.Signature(beat)),
            "b": In(stream.Signature(data.StructLayout({"resp": unsigned(2)}))),
        })


class Axi4ReadSignature(_BusSignature):
    """Read channels of an AXI4 manager with IDs, by their usual names.

    Parameters
    ----------
    address_bits: width of addresses
    data_bits:    width of a beat
    id_bits:      width of ARID and RID

    Raises
    ------
    ValueError: a width that AXI does not know.
    """

    def __init__(self, address_bits: int, data_bits: int, id_bits: int):
        _check_widths(address_bits, data_bits)
        if not isinstance(id_bits, int) or not 1 <= id_bits <= 32:
            raise ValueError(f"id_bits must be an integer from 1 to 32, not {id_bits!r}")
        super().__init__((address_bits, data_bits, id_bits), {
            "arid": Out(id_bits),
            "araddr": Out(address_bits),
            "arlen": Out(8),
            "arvalid": Out(1),
            "arready": In(1),
            "rid": In(id_bits),
            "rdata": In(data_bits),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        })


class ReadArbiter(wiring.Component):
    """Shares one AXI4 read port among managers: round robin on AR, ARID = number of the client, R by RID.

    **Latency**: AR one cycle, R none. **Throughput**: one AR and one R beat per cycle. A client that
    requests is served after at most one burst of every other client. Beats of different clients may
    interleave; a beat whose RID is no client's is accepted and dropped.

    Parameters
    ----------
    address_bits: width of addresses
    data_bits:    width of a beat
    clients:      number of managers

    Members
    -------
    clients: array of ``In(ReadSignature)``, the clients' ports
    bus:     ``Out(Axi4ReadSignature)``

    Raises
    ------
    ValueError: a width that AXI does not know, or fewer than two clients.
    """

    def __init__(self, address_bits: int, data_bits: int, clients: int = 2):
        if not isinstance(clients, int) or clients < 2:
            raise ValueError(f"clients must be an integer of at least 2, not {clients!r}")
        super().__init__({
            "clients": In(ReadSignature(address_bits, data_bits)).array(clients),
            "bus": Out(Axi4ReadSignature(address_bits, data_bits, ceil_log2(clients))),
        })

    def elaborate(self, platform):
        m = Module()
        bus, count = self.bus, len(self.clients)

        grant = Signal(range(count))
        with m.Switch(bus.arid):  # the client served last comes last
            for served in range(count):
                with m.Case(served):
                    for offset in reversed(range(1, count + 1)):
                        candidate = (served + offset) % count
                        with m.If(self.clients[candidate].ar.valid):
                            m.d.comb += grant.eq(candidate)

        free = Signal()
        m.d.comb += free.eq(~bus.arvalid | bus.arready)
        request = Array(client.ar for client in self.clients)[grant]
        m.d.comb += request.ready.eq(free)
        with m.If(free):
            m.d.sync += bus.arvalid.eq(request.valid)
            with m.If(request.valid):
                m.d.sync += [
                    bus.arid.eq(grant),
                    bus.araddr.eq(request.payload.address),
                    bus.arlen.eq(request.payload.len),
                ]

        m.d.comb += bus.rready.eq(1)
        for number, client in enumerate(self.clients):
            m.d.comb += [
                client.r.payload.data.eq(bus.rdata),
                client.r.payload.resp.eq(bus.rresp),
                client.r.payload.last.eq(bus.rlast),
                client.r.valid.eq(bus.rvalid & (bus.rid == number)),
            ]
            with m.If(bus.rid == number):
                m.d.comb += bus.rready.eq(client.r.ready)
        return m
