"""Random workloads on small cores, one per seed; families of processes."""

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amla.rtl.config import MODES
from amla.rtl.fp.word import OPERANDS
from amla.rtl.isa import ENGINE_STATES, Engine
from amla.sw.compiler.memory_map import build_job
from amla.sw.compiler.program import members
from amla.sw.report.results import write_folder
from amla.sw.run.counters import counter_bounds, triples
from amla.sw.run.experiment import prepare
from amla.sw.run.rtl_job import RtlRun
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload


@pytest.fixture(scope="session")
def tiny_workload():
    """The workload tiny: two query tokens, causal, ragged, one request without keys."""
    return Workload.load("tiny")


@pytest.fixture(scope="session")
def make_job(tiny, tiny_workload):
    """Build a job; returns it with its inputs."""
    def make(workload=tiny_workload, config=tiny, preload=1):
        inputs = make_inputs(workload, format=config.format)
        return build_job(workload, inputs, config, preload=preload), inputs
    return make


@pytest.fixture(scope="session")
def random_case(tiny):
    """``random_case(seed)``: a workload, a configuration around tiny and a preload depth."""
    def draw(seed):
        rng = random.Random(seed)
        config = tiny
        if seed % 2:
            m, n, k = rng.choice(((4, 4, 4), (2, 4, 4), (4, 2, 4), (4, 2, 8), (1, 4, 8)))
            config = replace(
                tiny, m=m, n=n, k=k,
                l1_bytes=rng.choice((4096, 8192, 16384, 65536)), max_rows=rng.choice((4, 8, 16, 32)),
                l0a_bytes=rng.choice((512, 1024, 4096)), l0b_bytes=rng.choice((512, 1024, 4096)),
                l0c_bytes=rng.choice((512, 1024, 4096)), o_bytes=rng.choice((2048, 8192, 16384)),
                out_bytes=rng.choice((512, 2048)), s_bytes=rng.choice((4096, 16384)),
                state_rows=rng.choice((0, 32, 64)),
                lanes=rng.choice([lanes for lanes in (1, 2, 4) if lanes <= n]), kv_block=rng.choice((8, 32, 64)),
                mode=rng.choice(MODES), format=rng.choice(list(OPERANDS)),
                comp_bits=rng.randrange(4), acc_frac_bits=rng.choice((24, 30)),
            )
        long = rng.randrange(301)
        lengths = rng.choice(((long,), (long, 0), (5, 1, 0, 2, 33), (long // 2, long // 3), (0,)))
        workload = Workload(
            name="random", heads=rng.randint(1, 40), q_tokens=rng.choice((1, 2, 3, 4, 16)), causal=rng.random() < 0.5,
            head_dim=(width := rng.choice((8, 16, 32))) + rng.choice((8, 16)), head_dim_v=width,
            lengths=lengths,
            page_size=rng.choice((1, 3, 16, 64, 128)), seed=seed, inputs=rng.choice(("layer", "normal")),
        )
        return workload, config, rng.randrange(3)
    return draw


@pytest.fixture(scope="session")
def toy_trace():
    """``toy_trace(job)``: a trace as if each command took 40 cycles, an engine did one at a time, tokens were free."""
    def make(job, cycles=40):
        free, tokens, rows = {}, {}, []
        lanes = {engine: [i for i, command in enumerate(job.program.commands) if command.engine == engine]
                 for engine in Engine}
        while any(lanes.values()):
            ready = []
            for engine, lane in lanes.items():
                if not lane:
                    continue
                command = job.program.commands[lane[0]]
                arrivals = [tokens.get(semaphore, []) for semaphore in members(command.wait)]
                whole = all(other[0] >= lane[0] for other in lanes.values() if other)
                fences = lanes[Engine.SEQUENCER]
                if all(arrivals) and (whole if engine == Engine.SEQUENCER else not fences or fences[0] > lane[0]):
                    barrier = (max(free.values(), default=0) if engine == Engine.SEQUENCER
                               else free.get(Engine.SEQUENCER, -1) + 1)
                    ready.append((max([free.get(engine, 0), barrier, *(times[0] for times in arrivals)]), lane[0]))
            start, index = min(ready)
            command = job.program.commands[index]
            lanes[command.engine].pop(0)
            for semaphore in members(command.wait):
                tokens[semaphore].pop(0)
            for semaphore in members(command.signal):
                tokens.setdefault(semaphore, []).append(start + cycles)
                tokens[semaphore].sort()
            free[command.engine] = start + cycles
            rows.append((int(command.engine), index, start, start + cycles))
        return {name: np.array(column) for name, column in
                zip(("engine", "index", "start", "end"), zip(*sorted(rows, key=lambda row: row[2]), strict=True),
                    strict=True)}
    return make


def toy_counters(trace, commands, cycles, config):
    """Counters that fit a trace: the least of each bound, never waiting for memory, else IDLE."""
    counters = {}
    for engine, bounds in counter_bounds(trace, commands, cycles, config).items():
        states = dict.fromkeys(map(str.lower, ENGINE_STATES), 0)
        states |= {names[0]: least for names, (least, _) in bounds.items()}
        states["idle"] = cycles - sum(states.values())
        counters[engine] = states
    return counters


@pytest.fixture(scope="session")
def toy_run(tiny, toy_trace):
    """``toy_run(name, expected)``: a run on tiny that gives what was expected, on the toy trace."""
    def make(name, expected):
        trace = toy_trace(expected.job)
        cycles, commands = int(trace["end"].max()) + 1, expected.job.program.commands
        traffic = {"bucket": np.array(64), "read": np.full(-(-cycles // 64), 256.0),
                   "written": np.arange(-(-cycles // 64), dtype=float)}
        return RtlRun(
            name=name, status="done", cycles=cycles, cube_active=triples(commands), error=None, nonfinite=False,
            counters=toy_counters(trace, commands, cycles, tiny),
            bytes_read=4096, bytes_written=512, peak_read=16.0, peak_write=8.0, seconds=0.5, output=expected.region,
            trace=trace, traffic=traffic)
    return make


@pytest.fixture(scope="session")
def make_results(tiny, tiny_workload, toy_run):
    """``make_results(folder, rtl=True)``: fill a results folder of tiny as ``amla run`` does, on a toy trace."""
    experiment = prepare(tiny_workload, tiny, preload=1, baseline=True, progress=lambda line: None)

    def make(folder, *, rtl=True):
        run, serial = (toy_run(name, expected) for name, expected in
                       (("tiny", experiment.expected), ("tiny-serial", experiment.serial))) if rtl else (None, None)
        write_folder(folder, experiment.report(run, serial), experiment.job, run.arrays if run else None)
        return folder

    return make


@pytest.fixture(scope="session")
def results_folder(make_results, tmp_path_factory):
    """A results folder of a run on the toy trace; read it only."""
    return make_results(tmp_path_factory.mktemp("results") / "tiny-tiny")


class Family:
    """Processes that carry a tag in their environment."""

    def __init__(self, name: str):
        self._name = name
        #: For the first of them.
        self.environment = {**os.environ, "AMLA_TEST_FAMILY": name}

    def pids(self) -> list[int]:
        """Those that live."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"AMLA_TEST_FAMILY={self._name}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
        return found

    def has_ended(self, *, seconds: float = 20.0) -> bool:
        """Whether none is left, after so many seconds at the latest."""
        end = time.monotonic() + seconds
        while (left := self.pids()) and time.monotonic() < end:
            time.sleep(0.05)
        return not left


@pytest.fixture
def family(tmp_path):
    """A family of processes, whose last ones are killed behind the test."""
    family = Family(str(tmp_path))
    yield family
    for pid in family.pids():
        os.kill(pid, signal.SIGKILL)
