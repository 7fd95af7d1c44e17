"""Runs programs on the cores of a cluster: one memory, one register port, a :class:`CorePort` per core."""

from collections.abc import Callable, Mapping, Sequence

import cocotb
from amla.rtl.config import CoreConfig
from amla.tb.core.driver import CorePort, CoreRun
from amla.tb.host.axi import AxiMemory, Traffic
from amla.tb.host.axi_lite import AxiLiteDriver
from amla.tb.host.gm import GlobalMemory
from amla.tb.stream import BENCH_CYCLES, reset, start_clock

__all__ = ["ClusterBench", "SharedMemory"]


class SharedMemory(AxiMemory):
    """A memory that knows which core asks: it counts each core's traffic, and fails the test when one writes outside of
    its window.

    Parameters
    ----------
    cores: how many; the others are those of :class:`AxiMemory`

    Members
    -------
    traffics: by core
    """

    def __init__(self, dut, memory: GlobalMemory, *, cores: int, **options):
        self.traffics = [Traffic() for _ in range(cores)]
        self._windows = [range(0)] * cores
        super().__init__(dut, memory, **options)

    def allow(self, core: int, registers: Mapping[str, int]) -> None:
        """From here on the core's write window is that of these registers."""
        base, limit = (registers[f"WRITE_{end}_LO"] | registers[f"WRITE_{end}_HI"] << 32 for end in ("BASE", "LIMIT"))
        self._windows[core] = range(base, limit)

    def traffic_of(self, ident: int) -> Traffic:
        return self.traffics[ident >> 1]

    def restart(self) -> None:
        super().restart()
        for traffic in self.traffics:
            traffic.clear()

    def _take_write(self, burst, total: int) -> None:
        window = self._windows[burst.ident >> 1]
        if not window.start <= burst.address <= burst.address + total <= window.stop:
            self.fail(f"core {burst.ident >> 1} writes {total} bytes at {burst.address:#x}, outside of its window "
                      f"{window.start:#x} to {window.stop:#x}")
        super()._take_write(burst, total)


class ClusterBench:
    """Cores, their memory and their register port; of one core, too, which is built without what a cluster adds.

    Parameters
    ----------
    dut:      an ``amla_cluster``; an ``amla_core`` if ``cores`` is 1
    config:   of every core
    cores:    how many
    axi:      options of :class:`~amla.tb.host.axi.AxiMemory`; :meth:`behave` changes them while nothing runs
    progress: called with one line every few seconds of a long run

    Members
    -------
    memory: fill it before a run
    cores:  ports, by number
    """

    def __init__(self, dut, config: CoreConfig, cores: int, *, progress: Callable[[str], None] | None = None, **axi):
        self.dut = dut
        self.config = config
        self.memory = GlobalMemory()
        self.axi = SharedMemory(dut, self.memory, cores=cores, **axi)
        registers = AxiLiteDriver(dut)
        self.cores = [CorePort(dut, self.axi, registers, number=None if cores == 1 else number, progress=progress)
                      for number in range(cores)]

    async def start(self, *, cycles: int = BENCH_CYCLES) -> None:
        """Start the clock with the bench's limit, reset the cores, and enable their interrupts."""
        start_clock(self.dut, cycles=cycles)
        await reset(self.dut)
        for core in self.cores:
            await core.registers.write("IRQ_ENABLE", 1)

    def behave(self, **options) -> None:
        """Change how memory behaves, by options of :class:`~amla.tb.host.axi.AxiMemory`; only while nothing runs."""
        self.axi.behave(**options)

    async def run(self, number: int, registers: Mapping[str, int], **options) -> CoreRun:
        """Run a program on one core, whatever the others do; parameters as of :meth:`CorePort.run`."""
        self.axi.allow(number, registers)
        return await self.cores[number].run(registers, **options)

    async def run_together(self, programs: Sequence[Mapping[str, int] | None], *, watchdog: int = 100_000,
                           limit: int = 1 << 32) -> list[CoreRun | None]:
        """Run programs, registers by core or None, all started one right after the other, beside memory as after reset;
        returns when the last one has ended."""
        active = [(core, registers) for core, registers in zip(self.cores, programs, strict=True) if registers]
        for core, registers in active:
            self.axi.allow(core.number, registers)
            await core.prepare(registers, watchdog=watchdog)
        self.axi.restart()
        tasks = {core.number: cocotb.start_soon(core.launch(limit=limit)) for core, _ in active}
        for task in tasks.values():
            await task
        return [tasks[core.number].result() if core.number in tasks else None for core in self.cores]
