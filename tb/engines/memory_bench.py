"""What the benches of the two engines on memory, load and store, have in common."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import cocotb
from amla.rtl.isa import Fault
from amla.sw.compiler.program import Command
from cocotb.triggers import RisingEdge

from ..stream import StreamDriver, reset

__all__ = ["MemoryBench"]


class MemoryBench:
    """Sends commands to an engine and waits for them; a subclass watches and models the engine.

    Members that a subclass provides
    --------------------------------
    dut, start: top level and driver of the command stream
    done, fault: commands finished so far; fault code, or None
    patience:   cycles without the awaited event after which the bench fails
    expect(command), _watch(): announce a command to the scoreboards; the coroutine that observes the engine
    """

    patience: int
    dut: Any
    start: StreamDriver
    done: int
    fault: int | None
    expect: Callable[[Command], None]
    _watch: Callable[[], Coroutine[Any, Any, None]]

    async def reset(self) -> None:
        """Reset the engine and watch it from then on."""
        await reset(self.dut)
        self._watcher = cocotb.start_soon(self._watch())

    async def run(self, commands: Sequence[Command]) -> None:
        """Expect, send and await ``commands``."""
        target = self.done + len(commands)
        for command in commands:
            self.expect(command)
        await self.start.send_all([command.encode() for command in commands])
        await self.until(lambda: self.done == target or self.fault is not None)
        assert self.fault is None, f"unexpected fault {Fault(self.fault).name}"

    async def until(self, condition: Callable[[], bool], cycles: int | None = None) -> None:
        """Wait for ``condition``, looked at after every clock edge; fails after ``cycles`` (or ``patience``)."""
        cycles = self.patience if cycles is None else cycles
        for _ in range(cycles):
            if condition():
                return
            await RisingEdge(self.dut.clk)
        raise AssertionError(f"nothing happened for {cycles} cycles")
