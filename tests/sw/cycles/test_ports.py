"""The interconnect of a cluster by what its RTL promises: ways, turns, room. On the RTL itself: tests/tb/cluster."""

from collections.abc import Sequence
from itertools import pairwise

from amla.rtl.isa import Opcode
from amla.sw.compiler.program import Command
from amla.sw.cycles.model import CycleRun, simulate, simulate_cores
from amla.sw.memory.preset import IDEAL

HALT, FENCE = (Command.build(opcode) for opcode in (Opcode.HALT, Opcode.FENCE))
#: Cycles from the START of a core to that of the next one.
START = 5


def load(rows, address=0, *, beats=3, padded=0):
    """A burst for every row."""
    return Command.build(Opcode.LOAD, rows=rows, rows_padded=max(rows, padded), cols=8 * beats, pitch=64,
                         address=address)


def store(rows=1, address=0, pitch=48):
    return Command.build(Opcode.STORE, rows=rows, cols=8, pitch=pitch, address=address, out_pitch=1)


def run(config, *programs: Sequence[Command]) -> list[CycleRun]:
    """Programs of the cores of a cluster; times of all from the START of the first."""
    return simulate_cores([[[*program, HALT] for program in programs]], config, IDEAL, one_port=True)[0]


def beats(runs: Sequence[CycleRun], kind: str, length: int) -> list[tuple[int, int, int]]:
    """First and last beat and the core of all bursts of a length, as they come."""
    return sorted((int(first) + START * core, int(last) + START * core, core) for core, run in enumerate(runs)
                  for first, last, size in getattr(run, kind) if size == length)


def test_two_cycles_each_way(tiny):
    """AR and R, W and B: memory is four cycles further away."""
    alone, through = simulate([load(16), FENCE, store(), HALT], tiny), run(tiny, [load(16), FENCE, store()])[0]
    assert through.start[0] == alone.start[0] + 4  # fetched
    assert alone.end[2] - alone.start[2] == 14 + IDEAL.latency  # to the first W beat; to B, and from there to ``done``
    for index in (0, 2):
        of_alone, of_through = (found.end[index] - found.start[index] for found in (alone, through))
        assert of_through == of_alone + 4


def in_turns(cores: Sequence[int]) -> bool:
    """Once all four have begun, and until the first has ended, each follows the one before it."""
    middle = cores[cores.index(3) + 4:len(cores) - cores[::-1].index(0)]
    return len(middle) >= 16 and all(after == (before + 1) % 4 for before, after in pairwise(middle))


def test_reads_take_turns(tiny):
    """Four cores, a burst of each; R moves a beat in every cycle."""
    bursts = beats(run(tiny, *([load(32, 4096 * core)] for core in range(4))), "reads", 48)
    assert len(bursts) == 128 and in_turns([core for _, _, core in bursts])
    assert [first - end for (_, end, _), (first, _, _) in pairwise(bursts)].count(1) >= 120


def test_writes_take_turns(tiny):
    """Likewise, bursts of one beat, in the order of their addresses."""
    bursts = beats(run(tiny, *([store(32, 4096 * core)] for core in range(4))), "writes", 16)
    assert len(bursts) == 128 and in_turns([core for _, _, core in bursts])


def test_a_burst_holds_up_the_beats_behind_it(tiny):
    """W follows AW: the other core's eight beats wait, most of them in the core, for 128 that were taken first."""
    long, short = run(tiny, [store(128, pitch=16)], [store(8, 8192, pitch=16)])
    assert long.writes[0, 2] == 128 * 16 and short.writes[0, 2] == 8 * 16
    assert short.end[0] + START == long.end[0] + 8


def test_what_a_core_does_not_take_holds_up_the_others(tiny):
    """While a core fills rows up it takes no beat: its own slice holds two, a third stands before all others'."""
    def last(rows: int) -> int:
        filling = [load(4, padded=128), load(rows, 4096, beats=2)]
        return int(run(tiny, filling, [load(32, 8192)])[1].end[0])

    assert last(1) < 250
    assert last(2) > 450
