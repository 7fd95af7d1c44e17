"""One decode on the RTL of a core, traced: what every signal held in every cycle."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from amla.rtl.config import CoreConfig
from amla.rtl.core import AmlaCore
from amla.rtl.isa import Opcode
from amla.sw.compiler.program import Command
from amla.sw.run.counters import triples
from amla.sw.run.experiment import prepare
from amla.sw.run.job_folder import job_folder
from amla.sw.run.rtl_job import read_results, write_job
from amla.sw.workload.workload import Workload
from amla.tb.build_core import TOP
from amla.tb.runner import BUILD_ROOT, build, run

from ..tools import FlowError
from .trace import Trace

__all__ = ["TRACE_OPTIONS", "WORKLOAD", "Decode", "build_traced", "decode", "operations"]

#: One token: 16 rows, 128 keys.
WORKLOAD = Workload(name="energy", heads=16, lengths=(128,), head_dim=48, head_dim_v=32, page_size=16, seed=4,
                    poison=False)

#: Registers of tables have names that begin with an underscore.
TRACE_OPTIONS = ("--trace-vcd", "--trace-underscore")


@dataclass(frozen=True, kw_only=True)
class Decode:
    """A run that gave the golden model's bits.

    Attributes
    ----------
    trace:      the core's signals
    first:      cycle of the trace after START
    cycles:     from START to the interrupt
    operations: by engine, see :func:`operations`
    accumulated: elements of O that went through an accumulate lane
    """

    trace: Trace
    first: int
    cycles: int
    operations: dict[str, int]
    accumulated: int

    def read(self, names: Sequence[str]) -> dict[str, list[int]]:
        """Words of the bits of signals, the lowest first: a bit's value in cycle t of the run at bit t."""
        _, words = self.trace.read(names)
        ones = (1 << self.cycles) - 1
        return {name: [word >> self.first & ones for word in bits] for name, bits in words.items()}


def build_traced(config: CoreConfig) -> Path:
    """Folder of the simulation of a core that traces every signal; its Verilog is ``amla_core.v`` there."""
    return build(AmlaCore(config), name=TOP, out=BUILD_ROOT / "energy" / config.name, waves=True, leaf_waves=True,
                 brief=True, extra_args=TRACE_OPTIONS)


@contextmanager
def decode(config: CoreConfig, built: Path, *, say: Callable[[str], None] = lambda line: None) -> Iterator[Decode]:
    """Run :data:`WORKLOAD`; its trace is there within the block. ``say`` is called with a line before each step.

    Raises
    ------
    Mismatch:  O or LSE differs in a bit, or the counters disagree with the program.
    FlowError: the trace shows no single interrupt.
    """
    experiment = prepare(WORKLOAD, config, preload=1, baseline=False, progress=say)
    say("simulating")
    with job_folder(built, config.name) as folder:
        write_job(folder, experiment.jobs(), seed=WORKLOAD.seed)
        run(built, name=TOP, module="amla.tb.cluster.job_bench", seed=WORKLOAD.seed, results=folder.resolve(),
            waves=True, env={"AMLA_JOB": str(folder.resolve())})
        result = read_results(folder).runs[WORKLOAD.name]
        experiment.report(result)
        trace = Trace(folder / "dump.vcd", scope=TOP, clock="clk")
        _, words = trace.read(["irq"])
        interrupt = words["irq"][0]
        end = (interrupt & -interrupt).bit_length() - 1
        if end < result.cycles:
            raise FlowError(f"{trace.path} must show the interrupt after {result.cycles} cycles, not in cycle {end}")
        commands = experiment.job.program.commands
        yield Decode(trace=trace, first=end - result.cycles, cycles=result.cycles,
                     operations=operations(commands, config, read=result.bytes_read, written=result.bytes_written),
                     accumulated=_elements(commands, config, Opcode.DRAIN_O))


def operations(commands: Sequence[Command], config: CoreConfig, *, read: int, written: int) -> dict[str, int]:
    """What each engine did: commands (sequencer), bytes of the bus (load, with the program, and store), fractals
    (feed, two of a triple), multiply-accumulates (cube), elements (drain: of S and O; vector: of P)."""
    return {
        "sequencer": len(commands), "load": read, "feed": 2 * triples(commands),
        "cube": triples(commands) * config.macs_per_cycle,
        "drain": _elements(commands, config, Opcode.DRAIN_S) + _elements(commands, config, Opcode.DRAIN_O),
        "vector": sum(command["mt"] * config.m * command["kt"] * config.k for command in commands
                      if command.opcode == Opcode.SOFTMAX),
        "store": written,
    }


def _elements(commands: Sequence[Command], config: CoreConfig, opcode: Opcode) -> int:
    return sum(command["mt"] * config.m * command["nt"] * config.n for command in commands if command.opcode == opcode)
