"""A memory with two readers, in two banks of one read and one write port."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import ceil_log2

__all__ = ["TwoBanks"]


class TwoBanks(wiring.Component):
    """Word w lies in bank w mod 2; ``read`` never waits, ``other`` waits while ``read`` takes its bank.

    Readers that go from word to word meet once at most: after its wait the other one is always in the other bank.

    **Latency**: a word is there in the cycle after its read, and in that one only. **Throughput**: a write and a
    read of each bank per cycle.

    Parameters
    ----------
    shape, depth: bits of a word, and words, an even number

    Members
    -------
    write:       write port
    read, other: read ports
    other_ready: the bank of ``other`` is free; ``other.en`` may only be set with it
    """

    def __init__(self, *, shape: int, depth: int):
        self._shape, self._depth = shape, depth
        ports = {"addr_width": ceil_log2(depth), "shape": shape}
        super().__init__({
            "write": Out(memory.WritePort.Signature(**ports)),
            "read": Out(memory.ReadPort.Signature(**ports)),
            "other": Out(memory.ReadPort.Signature(**ports)),
            "other_ready": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        write, read, other = self.write, self.read, self.other
        m.d.comb += self.other_ready.eq(~read.en | (read.addr[0] != other.addr[0]))
        data = []
        for bank in range(2):
            m.submodules[f"bank_{bank}"] = cells = memory.Memory(
                shape=self._shape, depth=self._depth // 2, init=[])
            inward, outward = cells.write_port(), cells.read_port()
            reads, others = (port.en & (port.addr[0] == bank) for port in (read, other))
            m.d.comb += [
                inward.addr.eq(write.addr[1:]), inward.data.eq(write.data),
                inward.en.eq(write.en & (write.addr[0] == bank)),
                outward.addr.eq(Mux(reads, read.addr, other.addr)[1:]), outward.en.eq(reads | others),
            ]
            data.append(outward.data)
        for port in (read, other):
            bank = Signal(reset_less=True)
            m.d.sync += bank.eq(port.addr[0])
            m.d.comb += port.data.eq(Mux(bank, data[1], data[0]))
        return m
