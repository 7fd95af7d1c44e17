"""Comparison of the levels, word by word: RTL, command simulator, golden model."""

from dataclasses import dataclass

import numpy as np
from amla.model import mla_decode

from ..compiler.memory_map import Job
from ..errors import AmlaError
from ..simulator.simulator import SimulationResult, Simulator
from ..workload.inputs import Inputs

__all__ = ["Expected", "Mismatch", "check_levels", "expect"]


class Mismatch(AmlaError, AssertionError):
    """Two levels differ: names the first differing element and the command that last wrote it."""

    status = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Expected:
    """What a job must give.

    Attributes
    ----------
    job:       the program
    golden:    O and LSE of the golden model
    region:    the output region as the command simulator leaves it
    simulated: what the command simulator did
    """

    job: Job
    golden: tuple[np.ndarray, np.ndarray]
    region: np.ndarray
    simulated: SimulationResult


def expect(job: Job, inputs: Inputs) -> Expected:
    """Run the golden model and the command simulator."""
    load = job.workload
    golden = mla_decode(**inputs.arguments(), head_dim_v=load.head_dim_v, softmax_scale=load.scale,
                        causal=load.causal, mode=job.config.mode, numerics=job.numerics)
    memory = job.memory.copy()
    simulator = Simulator(job.config, memory, base=job.base, read_window=job.program.read_window,
                          write_window=job.program.write_window, scale_word=job.program.scale_word)
    result = simulator.run(job.program.symbols["PROGRAM"], job.registers["PROGRAM_LENGTH"])
    start = job.output_base - job.base
    region = memory[start:start + job.output_bytes]
    return Expected(job=job, golden=golden, region=region, simulated=result)


def check_levels(expected: Expected, rtl: np.ndarray | None) -> None:
    """Fail unless RTL = simulator = golden model on every bit of O and LSE.

    ``rtl`` is the output region after the run, or None to compare only the other two. The message names the first
    differing element, both words in hex and as numbers, and the command that last wrote it. Bytes of the region
    that belong to no element must be as the simulator left them.

    Raises
    ------
    Mismatch: some bit differs.
    """
    job = expected.job
    simulated = job.unpack(expected.region)
    levels = [("simulator", simulated, "golden model", expected.golden)]
    if rtl is not None:
        levels.append(("RTL", job.unpack(rtl), "simulator", simulated))
    for name, got, other, wanted in levels:
        for what, axes, a, b in (("O", "request, token, head, column", got[0], wanted[0]),
                                 ("LSE", "request, head, token", got[1], wanted[1])):
            word = np.dtype(f"u{a.itemsize}")
            different = np.argwhere(a.view(word) != b.view(word))
            if len(different):
                place = tuple(map(int, different[0]))
                writer = int(expected.simulated.writer[job.output_beat(what, place)])
                raise Mismatch(
                    f"{what} of {name} and {other} differ in {len(different)} of {a.size} words, first at "
                    f"({axes}) = {place}: {a.view(word)[place]:#x} ({float(a[place]):g}) against "
                    f"{b.view(word)[place]:#x} ({float(b[place]):g}); last written by command "
                    f"{job.program.line(writer).strip() if writer >= 0 else 'none'}")
    if rtl is None:
        return
    other_bytes = np.flatnonzero(rtl != expected.region)
    if len(other_bytes):
        first = other_bytes[0]
        raise Mismatch(f"byte {job.output_base + first:#x} of the output region belongs to no element and is "
                       f"{rtl[first]:#04x}, the simulator left {expected.region[first]:#04x}")
