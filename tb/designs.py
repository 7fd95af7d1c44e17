"""Small designs that the bench helpers are tried on."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["AxiPins", "Copier", "Lookup"]


class Lookup(wiring.Component):
    """Table lookup through outside memory ports.

    **Latency**: one cycle. **Throughput**: one lookup and one write per cycle.
    """

    def __init__(self, *, words: int, width: int, grains: int):
        address_bits = (words - 1).bit_length()
        super().__init__({
            "request": In(stream.Signature(address_bits)),
            "result": Out(stream.Signature(width)),
            "write": In(stream.Signature(data.StructLayout({
                "address": unsigned(address_bits), "mask": unsigned(grains), "data": unsigned(width)}))),
            "table_read": In(memory.ReadPort.Signature(addr_width=address_bits, shape=unsigned(width))),
            "table_write": In(memory.WritePort.Signature(addr_width=address_bits, shape=unsigned(width),
                                                         granularity=width // grains)),
        })

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.request.ready.eq(~self.result.valid | self.result.ready),
            self.table_read.addr.eq(self.request.payload),
            self.table_read.en.eq(self.request.valid & self.request.ready),
            self.result.payload.eq(self.table_read.data),
            self.write.ready.eq(1),
            self.table_write.addr.eq(self.write.payload.address),
            self.table_write.data.eq(self.write.payload.data),
        ]
        with m.If(self.write.valid):
            m.d.comb += self.table_write.en.eq(self.write.payload.mask)
        with m.If(self.request.ready):
            m.d.sync += self.result.valid.eq(self.request.valid)
        return m


def _manager_ports(width: int, id_bits: int) -> dict[str, int]:
    """Signals that an AXI4 manager drives, and their widths; addresses of 32 bits."""
    ports: dict[str, int] = {}
    for channel in ("ar", "aw"):
        ports |= {f"{channel}id": id_bits, f"{channel}addr": 32, f"{channel}len": 8, f"{channel}size": 3,
                  f"{channel}burst": 2, f"{channel}valid": 1}
    return ports | {"wdata": width, "wstrb": width // 8, "wlast": 1, "wvalid": 1, "rready": 1, "bready": 1}


def _subordinate_ports(width: int, id_bits: int) -> dict[str, int]:
    """Signals that the memory drives."""
    return {"arready": 1, "awready": 1, "wready": 1, "rid": id_bits, "rdata": width, "rresp": 2, "rlast": 1,
            "rvalid": 1, "bid": id_bits, "bresp": 2, "bvalid": 1}


class AxiPins(wiring.Component):
    """An AXI4 manager without a mind: every output ``m_axi_x`` is the input ``x`` one cycle later.

    A bench drives protocol errors through it.
    """

    def __init__(self, *, width: int, id_bits: int):
        self._outputs = _manager_ports(width, id_bits)
        super().__init__(
            {f"m_axi_{name}": Out(bits) for name, bits in self._outputs.items()}
            | {name: In(bits) for name, bits in self._outputs.items()}
            | {f"m_axi_{name}": In(bits) for name, bits in _subordinate_ports(width, id_bits).items()}
        )

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [getattr(self, f"m_axi_{name}").eq(getattr(self, name)) for name in self._outputs]
        return m


class Copier(wiring.Component):
    """Copies a block of memory by AXI4 bursts of 16 beats; addresses are multiples of 16 beats.

    **Throughput**: one beat per cycle while memory answers with no gaps; up to 64 beats in flight.

    Members
    -------
    start, source, target, bursts: copy ``bursts`` bursts from ``source`` to ``target``
    done:   the last response has come
    read_errors, write_errors: read beats and write bursts whose response was not OKAY
    """

    _BEATS = 16

    def __init__(self, *, width: int, id_bits: int):
        self._width = width
        super().__init__(
            {f"m_axi_{name}": Out(bits) for name, bits in _manager_ports(width, id_bits).items()}
            | {f"m_axi_{name}": In(bits) for name, bits in _subordinate_ports(width, id_bits).items()}
            | {
                "start": In(1),
                "source": In(32),
                "target": In(32),
                "bursts": In(16),
                "done": Out(1),
                "read_errors": Out(16),
                "write_errors": Out(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        size = exact_log2(self._width // 8)
        m.submodules.beats = beats = SyncFIFOBuffered(width=self._width, depth=4 * self._BEATS)
        to_read, to_ask, to_answer = Signal(16), Signal(16), Signal(16)
        room = Signal(range(4 * self._BEATS + 1), init=4 * self._BEATS)  # beats that may still be asked for
        ask = self.m_axi_arvalid & self.m_axi_arready
        sent = self.m_axi_wvalid & self.m_axi_wready
        beat = Signal(range(self._BEATS))
        ahead = Signal(16)  # bursts whose address was sent and whose data were not
        m.d.sync += room.eq(room - Mux(ask, self._BEATS, 0) + sent)
        for channel in ("ar", "aw"):
            m.d.comb += [getattr(self, f"m_axi_{channel}len").eq(self._BEATS - 1),
                         getattr(self, f"m_axi_{channel}size").eq(size),
                         getattr(self, f"m_axi_{channel}burst").eq(1)]
        asked = self.m_axi_awvalid & self.m_axi_awready
        burst_sent = sent & self.m_axi_wlast
        m.d.comb += [
            # room never shrinks while a request is held, so valid does not fall
            self.m_axi_arvalid.eq((to_read != 0) & (room >= self._BEATS)),
            self.m_axi_awvalid.eq(to_ask != 0),
            beats.w_data.eq(self.m_axi_rdata),
            beats.w_en.eq(self.m_axi_rvalid),
            self.m_axi_rready.eq(beats.w_rdy),
            self.m_axi_wdata.eq(beats.r_data),
            self.m_axi_wstrb.eq(-1),
            self.m_axi_wvalid.eq(beats.r_rdy & (ahead != 0)),
            beats.r_en.eq(sent),
            self.m_axi_wlast.eq(beat == self._BEATS - 1),
            self.m_axi_bready.eq(1),
            self.done.eq(to_answer == 0),
        ]
        m.d.sync += ahead.eq(ahead + asked - burst_sent)
        with m.If(ask):
            m.d.sync += [
                to_read.eq(to_read - 1),
                self.m_axi_araddr.eq(self.m_axi_araddr + (self._BEATS << size)),
            ]
        with m.If(asked):
            m.d.sync += [
                to_ask.eq(to_ask - 1),
                self.m_axi_awaddr.eq(self.m_axi_awaddr + (self._BEATS << size)),
            ]
        with m.If(sent):
            m.d.sync += beat.eq(beat + 1)
        with m.If(self.m_axi_bvalid):
            m.d.sync += [
                to_answer.eq(to_answer - 1),
                self.write_errors.eq(self.write_errors + self.m_axi_bresp.any()),
            ]
        with m.If(self.m_axi_rvalid & self.m_axi_rready):
            m.d.sync += self.read_errors.eq(self.read_errors + self.m_axi_rresp.any())
        with m.If(self.start):
            m.d.sync += [to_read.eq(self.bursts), to_ask.eq(self.bursts), to_answer.eq(self.bursts),
                         self.m_axi_araddr.eq(self.source), self.m_axi_awaddr.eq(self.target),
                         self.read_errors.eq(0), self.write_errors.eq(0)]
        return m
