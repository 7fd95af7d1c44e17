"""Synchronous memory behind the flattened Amaranth memory ports of an engine under test."""

import random
from collections.abc import Sequence

import cocotb
from cocotb.triggers import RisingEdge

from .signals import Pin, has_pin

__all__ = ["SyncMemory"]


class SyncMemory:
    """Models ``amaranth.lib.memory.Memory`` outside the design.

    A port is ``<name>__addr``, ``<name>__en``, ``<name>__data``; a write port's ``en`` may be a mask of
    grains. **Latency**: read data is valid the cycle after ``en`` and then ``holds``; a read sees the old word
    when a port writes it in the same cycle. Words are integers in ``storage``, which a bench may read and
    change at any time.

    Parameters
    ----------
    dut:    top level with the ports
    reads:  name of the read port, or several names
    words:  depth; an access at or past it fails the test
    width:  bits of a word
    writes: name of the write port, or several names
    clock:  clock signal, ``dut.clk`` when None
    holds:  read data stays until the next read; False for a port that shares its memory: other words follow
    storage: list of words to share with another model (same depth); ports of both may then access the same
            word in one cycle only if none writes it

    Counters
    --------
    reads_done, writes_done: accesses so far
    """

    def __init__(self, dut, reads: str | Sequence[str] = (), words: int = 0, *, width: int,
                 writes: str | Sequence[str] = (), clock=None, holds: bool = True, storage: list[int] | None = None):
        if words < 1:
            raise ValueError(f"words must be at least 1, not {words!r}")
        if storage is not None and len(storage) != words:
            raise ValueError(f"storage must hold {words} words, not {len(storage)!r}")
        self.words = words
        self.width = width
        self.storage = [0] * words if storage is None else storage
        self._holds = holds
        self.reads_done = 0
        self.writes_done = 0
        self._reads = [_Port(dut, name, width) for name in _names(reads)]
        self._writes = [_Port(dut, name, width) for name in _names(writes)]
        if not self._reads and not self._writes:
            raise ValueError(f"reads or writes must name a port, not {reads!r} and {writes!r}")
        for port in self._writes:
            port.prepare_mask()
        self._edge = RisingEdge(dut.clk if clock is None else clock)
        self._task = cocotb.start_soon(self._run())

    def stop(self) -> None:
        """Stop answering."""
        self._task.cancel()

    async def _run(self) -> None:
        storage, words, edge = self.storage, self.words, self._edge
        while True:
            await edge
            for port in self._reads:
                if port.enable():
                    address = port.address()
                    assert address < words, f"{port.name}: read at word {address} of {words}"
                    port.data.set(storage[address])
                    self.reads_done += 1
                elif not self._holds:
                    port.data.set(random.getrandbits(self.width))
            for port in self._writes:
                enable = port.enable()
                if enable:
                    address = port.address()
                    assert address < words, f"{port.name}: write at word {address} of {words}"
                    mask = port.mask(enable)
                    storage[address] = (storage[address] & ~mask) | (port.data.get() & mask)
                    self.writes_done += 1


class _Port:
    """Signals of one memory port."""

    def __init__(self, dut, name: str, width: int):
        self.name = name
        self.data = Pin(dut, f"{name}__data")
        self.en = Pin(dut, f"{name}__en")
        if self.data.width != width:
            raise ValueError(f"width of {name}__data must be {self.data.width}, not {width!r}")
        # A memory of one word has an address of zero bits, which is no signal at all.
        self.address = Pin(dut, f"{name}__addr").get if has_pin(dut, f"{name}__addr") else (lambda: 0)
        self.enable = self.en.get
        self._masks: dict[int, int] = {}
        self._grain = 0

    def prepare_mask(self) -> None:
        if self.data.width % self.en.width:
            raise ValueError(
                f"{self.name}__en must divide the {self.data.width} data bits, not {self.en.width!r}"
            )
        self._grain = self.data.width // self.en.width

    def mask(self, enable: int) -> int:
        """Data bits that ``enable`` selects."""
        if enable not in self._masks:
            ones = (1 << self._grain) - 1
            self._masks[enable] = sum(ones << (bit * self._grain)
                                      for bit in range(self.en.width) if enable >> bit & 1)
        return self._masks[enable]


def _names(names: str | Sequence[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else names
