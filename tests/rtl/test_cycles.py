"""Speed: the cycles of fixed programs on fixed memory are on record, and a change of more than 0.5 % fails."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from amla.rtl.config import CoreConfig
from amla.sw.compiler.memory_map import Job, build_job
from amla.sw.memory.preset import IDEAL
from amla.sw.run.counters import check_counters
from amla.sw.run.rtl_job import run_rtl, write_job
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload

RECORD = Path(__file__).with_name("cycles.json")
#: Set to 1, the variable makes the test write what it measures instead of comparing it.
UPDATE = "AMLA_UPDATE_CYCLES"
TOLERANCE = 0.005

TINY = Workload.load("tiny")
#: Programs per configuration: name -> workload, and the preload depths it runs at.
PROGRAMS = {
    "tiny": {
        "ragged causal": (TINY, (0, 1, 2)),
        "two row tiles": (replace(TINY, heads=17, lengths=(150, 31)), (1, 2)),
        "one head, many keys": (replace(TINY, heads=1, q_tokens=1, causal=False, lengths=(400,)), (1,)),
        "many rows, one key": (replace(TINY, heads=32, q_tokens=4, lengths=(1, 1, 1)), (1,)),
    },
    "small": {"single": (Workload.load("single"), (1,)), "decode": (Workload.load("decode"), (1,))},
}
#: Memory latencies per configuration.
LATENCIES = {"tiny": (20, 200), "small": (20,)}


def jobs(config: CoreConfig, latency: int) -> Iterator[tuple[str, Job]]:
    """All programs of a configuration, for a memory of this latency."""
    memory = replace(IDEAL, latency=latency)
    for name, (workload, depths) in PROGRAMS[config.name].items():
        inputs = make_inputs(workload, format=config.format)
        for depth in depths:
            yield f"{name}, preload {depth}", build_job(workload, inputs, config, preload=depth, memory=memory)


def measure(config: CoreConfig, folder: Path) -> dict[str, int]:
    """Cycles of every program at every latency; the counters of each run must be right too."""
    found = {}
    for latency in LATENCIES[config.name]:
        programs = dict(jobs(config, latency))
        write_job(folder, programs)
        for name, run in run_rtl(folder).runs.items():
            assert run.status == "done", f"{name} ended with {run.error or run.status}"
            check_counters(run, programs[name].program.commands, config)
            found[f"{name}, latency {latency}"] = run.cycles
    return found


@pytest.mark.regress
@pytest.mark.parametrize("name", PROGRAMS)
def test_cycles_are_those_on_record(name, tmp_path):
    found = measure(CoreConfig.load(name), tmp_path)
    record = json.loads(RECORD.read_text())
    if os.environ.get(UPDATE) == "1":
        RECORD.write_text(json.dumps({**record, name: found}, indent=2) + "\n")
        return
    again = f"if that is meant: {UPDATE}=1 python -m pytest {Path(__file__).relative_to(Path.cwd())}"
    known = record[name]
    assert found.keys() == known.keys(), f"the record of {name} is of other programs; {again}"
    changed = [f"{program}: {known[program]:,} -> {cycles:,} cycles, {cycles / known[program] - 1:+.2%}"
               for program, cycles in found.items() if abs(cycles / known[program] - 1) > TOLERANCE]
    assert not changed, "\n".join([f"cycles on {name} have changed; {again}", *changed])
