"""What the benches of the two engines on memory, load and store, have in common."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import cocotb
from amla.rtl.isa import Fault
from amla.sw.compiler.program import Command

from ..stream import PATIENCE, StreamDriver, reset, until

__all__ = ["MemoryBench"]


class MemoryBench:
    """Sends commands to an engine and waits for them; a subclass watches and models the engine.

    Members that a subclass provides
    --------------------------------
    dut, start: top level and driver of the command stream
    done, fault: commands finished so far; fault code, or None
    expect(command), _watch(): announce a command to the scoreboards; the coroutine that observes the engine
    """

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
        await self.until(lambda: self.done == target or self.fault is not None, "the end of the commands",
                         cycles=3 * PATIENCE)
        assert self.fault is None, f"unexpected fault {Fault(self.fault).name}"

    async def until(self, condition: Callable[[], object], what: str, *, cycles: int = PATIENCE) -> None:
        """:func:`~amla.tb.stream.until` on the engine's clock."""
        await until(self.dut, condition, what, cycles=cycles)
