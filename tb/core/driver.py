"""Runs programs on the core: memory, registers, start, interrupt, counters, trace, soft reset."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.host.registers import ADDRESS_BITS
from amla.rtl.isa import ENGINE_STATES, Engine, Fault
from cocotb.triggers import First, RisingEdge, Timer, ValueChange

from ..host.axi import AxiMemory, Traffic
from ..host.axi_lite import AxiLiteDriver
from ..host.gm import GlobalMemory, Region
from ..signals import Pin
from ..stream import BENCH_CYCLES, CLOCK_NS, reset, start_clock
from .trace import Trace

__all__ = ["GUARD_BYTES", "CoreBench", "CorePort", "CoreRun", "Error"]

#: Bytes before and after the output region that must survive.
GUARD_BYTES = 2048

#: Byte address of a core's registers from those of the core before.
_PAGE = 1 << ADDRESS_BITS

_CHECK_CYCLES = 20_000
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Error:
    """Registers ERROR_CODE, ERROR_ENGINE, ERROR_INDEX and ERROR_ROW."""

    code: Fault
    engine: Engine
    index: int
    row: int = 0

    def __str__(self) -> str:
        row = f", row {self.row}" if self.row else ""
        return f"{self.code.name} at command {self.index} ({self.engine.name.lower()}){row}"


@dataclass(kw_only=True)
class CoreRun:
    """What one program's run left in the registers and on the bus.

    Attributes
    ----------
    status:      "done", "error" or "timeout"
    start:       cycle of the simulation that the run's cycles count from
    error:       the first fault, or None
    counters:    engine -> state -> cycles
    trace:       engine, index, start, end of every command that started; cycles from START
    traffic:     bytes over time, from START to the interrupt (:meth:`amla.sw.memory.traffic.Traffic.over_time`)
    """

    status: str
    start: int
    error: Error | None
    nonfinite: bool
    cycles: int
    cube_active: int
    counters: Mapping[str, Mapping[str, int]]
    bytes_read: int
    bytes_written: int
    peak_read: float
    peak_write: float
    seconds: float
    trace: dict[str, np.ndarray] = field(repr=False)
    traffic: dict[str, np.ndarray] = field(repr=False)


class CorePort:
    """The registers, the interrupt and the trace of one core, by itself or of a cluster.

    Parameters
    ----------
    dut:       an ``amla_core`` or ``amla_cluster``
    axi:       the memory that it runs beside
    registers: the register port, which cores share
    number:    of the core in a cluster; None: the design is the core
    progress:  called with one line every few seconds of a long run
    """

    def __init__(self, dut, axi: AxiMemory, registers: AxiLiteDriver, *, number: int | None = None,
                 progress: Callable[[str], None] | None = None):
        self.dut, self.axi = dut, axi
        self.number = number or 0
        self.registers = registers.page(_PAGE * self.number)
        self.trace = Trace(dut, "trace" if number is None else f"trace{number}")
        self._irq = Pin(dut, "irq")
        self._progress = progress

    @property
    def interrupt(self) -> bool:
        """The interrupt line."""
        return bool(self._irq.get() >> self.number & 1)

    async def prepare(self, registers: Mapping[str, int], *, watchdog: int = 100_000) -> None:
        """Write the registers of a program; parameters as of :meth:`run`."""
        for name, value in {**registers, "WATCHDOG": watchdog}.items():
            await self.registers.write(name, value)
        self.trace.clear()

    async def launch(self, *, limit: int = 1 << 32) -> CoreRun:
        """START what was prepared, wait for the interrupt, clear it, and read what happened."""
        traffic = self.axi.traffic_of(self.number << 1)
        traffic.clear()
        began, first = time.perf_counter(), self.axi.cycle()
        await self.registers.write("CTRL", 1)
        interrupted = await self._wait(first, began, limit)
        seconds = time.perf_counter() - began
        now = self.axi.cycle()
        await self.registers.write("IRQ", 1)
        return await self._collect(now, seconds, interrupted, traffic)

    async def run(
        self, registers: Mapping[str, int], *, watchdog: int = 100_000, limit: int = 1 << 32
    ) -> CoreRun:
        """Write the registers, START, wait for the interrupt, clear it, and read what happened.

        Parameters
        ----------
        registers: values by name, as of :attr:`amla.sw.compiler.memory_map.Job.registers`
        watchdog:  cycles without progress before the core gives up
        limit:     cycles after which the run is abandoned with status "timeout"
        """
        await self.prepare(registers, watchdog=watchdog)
        return await self.launch(limit=limit)

    async def soft_reset(self, *, limit: int = 10_000) -> None:
        """Ask for a soft reset, wait for it (it comes once AXI is quiet), and clear the interrupt."""
        await self.registers.write("CTRL", 2)
        for _ in range(limit):
            status = await self.registers.read_fields("STATUS")
            if status["QUIET"] and not (status["RUNNING"] or status["ERROR"] or status["DONE"]):
                break
        else:
            raise AssertionError(f"soft reset has not taken effect: {status}")
        await self.registers.write("IRQ", 1)

    async def _wait(self, first: int, began: float, limit: int) -> bool:
        """Wait for the interrupt; False when ``limit`` cycles pass without."""
        changes, shown = ValueChange(self._irq.handle), began
        while not self.interrupt:
            pause = Timer(_CHECK_CYCLES * CLOCK_NS, "ns")
            if await First(changes, pause) is changes:
                continue
            cycles, now = self.axi.cycle() - first, time.perf_counter()
            if cycles >= limit:
                await RisingEdge(self.dut.clk)
                return False
            if self._progress is not None and now - shown >= _PROGRESS_SECONDS:
                shown = now
                self._progress(f"{cycles:,} cycles, {cycles / (now - began):,.0f} cycles/s")
        await RisingEdge(self.dut.clk)
        return True

    async def _collect(self, now: int, seconds: float, interrupted: bool, traffic: Traffic) -> CoreRun:
        read = self.registers.read
        status = await self.registers.read_fields("STATUS")
        error = None
        if status["ERROR"]:
            error = Error(Fault(await read("ERROR_CODE")), Engine(await read("ERROR_ENGINE")),
                          await read("ERROR_INDEX"), await read("ERROR_ROW"))
        if interrupted:
            assert status["DONE"] != status["ERROR"] and not status["RUNNING"], (
                f"interrupt with status {status}"
            )
        counters = {engine.name.lower(): {state.lower(): await read(f"{engine.name}_{state}")
                                          for state in ENGINE_STATES} for engine in Engine}
        cycles = await read("CYCLES")
        return CoreRun(
            status="error" if error else "done" if interrupted else "timeout", start=now - cycles, error=error,
            nonfinite=bool(status["NONFINITE"]), cycles=cycles, cube_active=await read("CUBE_ACTIVE"),
            counters=counters, bytes_read=traffic.read_bytes, bytes_written=traffic.written_bytes,
            peak_read=traffic.peak(traffic.reads), peak_write=traffic.peak(traffic.writes), seconds=seconds,
            trace=self.trace.arrays(now - cycles), traffic=traffic.over_time(now - cycles, cycles),
        )


class CoreBench(CorePort):
    """A core, its memory and its register port.

    Parameters
    ----------
    dut:     an ``amla_core``
    config:  its configuration
    axi:     options of :class:`~amla.tb.host.axi.AxiMemory`; :meth:`behave` changes them between programs
    progress: called with one line every few seconds of a long run

    Members
    -------
    memory:    fill it before :meth:`run`
    registers: the register port
    """

    def __init__(self, dut, config: CoreConfig, *, progress: Callable[[str], None] | None = None, **axi):
        self.config = config
        self.memory = GlobalMemory()
        super().__init__(dut, AxiMemory(dut, self.memory, **axi), AxiLiteDriver(dut), progress=progress)

    async def start(self, *, cycles: int = BENCH_CYCLES) -> None:
        """Start the clock with the bench's limit, reset the core, and enable its interrupt."""
        start_clock(self.dut, cycles=cycles)
        await reset(self.dut)
        await self.registers.write("IRQ_ENABLE", 1)

    def load(self, memory: np.ndarray, base: int, output: tuple[int, int]) -> Region:
        """Map GM: ``memory`` from address ``base`` on, in it the output region (address, bytes) with guards.

        Errors planned before are forgotten. Returns the output region.
        """
        self.memory.clear()
        address, size = output
        region = self.memory.add(address, memory[address - base:][:size], name="output", guard=GUARD_BYTES)
        below, above = address - base - GUARD_BYTES, address - base + size + GUARD_BYTES
        if below > 0:
            self.memory.add(base, memory[:below], name="memory below the output")
        if above < len(memory):
            self.memory.add(base + above, memory[above:], name="memory above the output")
        return region

    def behave(self, **options) -> None:
        """Change how memory behaves, by options of :class:`~amla.tb.host.axi.AxiMemory`; only between programs."""
        self.axi.behave(**options)

    async def launch(self, *, limit: int = 1 << 32) -> CoreRun:
        """As of :class:`CorePort`, beside a memory as it is after reset."""
        self.axi.restart()
        return await super().launch(limit=limit)
