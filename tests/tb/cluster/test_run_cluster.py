"""The job folder of a cluster, end to end: phases whose programs read what those before them wrote."""

import random
from dataclasses import replace

import numpy as np
import pytest
from amla.sw.compiler.memory_map import build_job
from amla.sw.compiler.program import assemble
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.run.compare import check_levels, expect
from amla.sw.run.counters import check_counters
from amla.sw.run.job_folder import ClusterJob, run_cluster
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload
from amla.tb.core.random_jobs import random_job
from amla.tb.core.trace import check_trace

BASE, STEP = 0x1000_0000, 0x0010_0000
CORES = 4
FIRST = Workload(name="first", heads=3, q_tokens=2, causal=True, lengths=(40, 17), head_dim=32, head_dim_v=24,
                 page_size=16, seed=1)
SECOND = replace(FIRST, name="second", lengths=(9, 30), head_dim=24, head_dim_v=16, seed=2)


@pytest.fixture(scope="module")
def cases(tiny, seed):
    """A random job for each core, side by side."""
    hbm = Memory.load("hbm")
    return [random_job(random.Random(f"{seed}/cluster/{core}"), tiny, hbm, base=BASE + core * STEP)
            for core in range(CORES)]


def chained(config):
    """Two jobs, the second of which has the first one's O as Q, and the second one's memory and registers as it reads
    them from there: its own Q is void."""
    inputs = make_inputs(FIRST, format=config.format)
    first = build_job(FIRST, inputs, config, base=BASE)
    golden = expect(first, inputs)
    inputs = replace(make_inputs(SECOND, format=config.format), q=golden.golden[0])
    second = build_job(SECOND, inputs, config, base=BASE + STEP)
    q, size = second.program.symbols["Q"], inputs.q.nbytes
    there = first.program.symbols["O"] - q
    commands = [command if command.opcode.name != "LOAD" or not q <= command["address"] < q + size
                else replace(command, fields={**command.fields, "address": command["address"] + there})
                for command in second.program.commands]
    binary = np.frombuffer(assemble(commands), np.uint8)
    start = second.program.symbols["PROGRAM"] - second.base
    memory = np.concatenate([second.memory[:start], binary, np.zeros(-len(binary) % 64, np.uint8)])
    memory[q - second.base:][:size] = 0xA5
    registers = {**second.registers, "PROGRAM_LENGTH": len(binary) // 2,
                 "READ_BASE_LO": first.base, "READ_LIMIT_LO": second.base + len(memory)}
    return golden, expect(second, inputs), memory, registers


def region(results, name, expected):
    return results.outputs[name][:expected.job.output_bytes]


@pytest.mark.regress
def test_phases(cases, tiny, seed, tmp_path, capfd):
    """Idle cores, programs together, memory from phase to phase, and what is said of each."""
    first, second, memory, registers = chained(tiny)
    random_ones = {core: expect(case.job, case.inputs) for core, case in enumerate(cases) if core >= 2}
    image = np.full(CORES * STEP, 0xA5, np.uint8)
    jobs = {"first": first.job, "second": second.job, **{str(core): one.job for core, one in random_ones.items()}}
    for job in jobs.values():
        image[job.base - BASE:][:len(job.memory)] = job.memory
    image[second.job.base - BASE:][:len(memory)] = memory
    run = ClusterJob(
        base=BASE, memory=image, outputs={name: (job.output_base, job.output_bytes) for name, job in jobs.items()},
        phases=[[first.job.registers, None, random_ones[2].job.registers, None],
                [None, None, registers, random_ones[3].job.registers]])
    together = ClusterJob.of([case.job for case in cases])
    found = run_cluster({"phases": run, "together": together}, tiny, memory=Memory.load("hbm"), out=tmp_path, seed=seed,
                        stall=0.1)
    results = found.runs["phases"]
    for name, expected in {"first": first, "second": second,
                           **{str(core): one for core, one in random_ones.items()}}.items():
        check_levels(expected, region(results, name, expected))
    assert [[core is not None for core in phase.cores] for phase in results.phases] == [
        [True, False, True, False], [False, False, True, True]]
    for core, case in enumerate(cases):
        expected = random_ones.get(core) or expect(case.job, case.inputs)
        check_levels(expected, found.runs["together"].outputs[str(core)])
        one = found.runs["together"].phases[0].cores[core]
        check_counters(one, case.job.program.commands, tiny)
        check_trace(one.trace, one.cycles, len(case.job.program))
        assert case.job.bytes_read < one.bytes_read <= case.job.bytes_read + 2 * 32 * len(case.job.program)
        assert one.traffic["read"].sum() == pytest.approx(one.bytes_read)
    for result in found.runs.values():
        assert result.cycles == sum(phase.cycles for phase in result.phases)
        for phase in result.phases:
            ran = [core for core in phase.cores if core is not None]
            assert all(core.status == "done" and core.error is None for core in ran)
            assert min(core.start for core in ran) == 0 and max(core.start for core in ran) < 16 * CORES
            assert phase.cycles == max(core.start + core.cycles for core in ran)
    assert not [*tmp_path.iterdir()]
    lines = capfd.readouterr().out.splitlines()
    for label in ("phases, phase 0", "phases, phase 1", "together"):
        assert any(line.startswith(f"{label}: done, ") for line in lines)


@pytest.mark.regress
def test_a_fault_ends_its_run(cases, tiny, tmp_path):
    """The others of its phase end first; no further phase begins; the next run is clean."""
    jobs = [case.job for case in cases]
    good = ClusterJob.of(jobs)
    programs = [job.registers for job in jobs]
    bad = replace(good, phases=[[{**programs[0], "PROGRAM_LENGTH": 0}, *programs[1:]], programs])
    found = run_cluster({"bad": bad, "good": good}, tiny, out=tmp_path).runs
    (phase,) = found["bad"].phases
    assert [core.status for core in phase.cores] == ["error"] + ["done"] * (CORES - 1)
    assert phase.cores[0].error == {"code": "TRUNCATED_PROGRAM", "engine": "SEQUENCER", "index": 0, "row": 0}
    for core, case in enumerate(cases):
        expected = expect(case.job, case.inputs)
        check_levels(expected, found["good"].outputs[str(core)])
        if core:
            check_levels(expected, found["bad"].outputs[str(core)])


def test_bad_cluster_jobs_are_refused(cases, tiny, tmp_path):
    jobs = [case.job for case in cases]
    good = ClusterJob.of(jobs)
    for change, message in (
        ({"phases": []}, r"phases must be of one number of cores, not of \[\]"),
        ({"phases": [[None] * 2, [{}]]}, r"phases must be of one number of cores, not of \[2, 1\]"),
        ({"phases": [[None, None]]}, r"phase 0 must have a program, not \[None, None\]"),
        ({"outputs": {"x": (0, 4)}}, "output x must lie in memory, not at 0x0 with 4 bytes"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(good, **change)
    with pytest.raises(ValueError, match="jobs must not overlap, not begin at 0x10000000 before"):
        ClusterJob.of([jobs[0], jobs[0]])
    with pytest.raises(ValueError, match=r"runs must be of one number of cores, not of \[1, 4\]"):
        run_cluster({"a": good, "b": ClusterJob.of(jobs[:1])}, tiny, out=tmp_path, memory=IDEAL)
    with pytest.raises(ValueError, match="base must be a multiple of 4096, not 100"):
        build_job(FIRST, make_inputs(FIRST, format=tiny.format), tiny, base=100)


@pytest.mark.nightly
def test_sharing_is_fair(tiny, tmp_path):
    """Equal programs on four cores end within 3 % of each other, and no later than each alone beside a quarter of the
    rate; beside the whole of it each alone is faster."""
    load = replace(Workload.load("tiny"), heads=16, lengths=(150, 60))
    whole = Memory(name="whole", latency=20, bytes_per_cycle=tiny.axi_data_bytes)
    quarter = replace(whole, name="quarter", bytes_per_cycle=tiny.axi_data_bytes / CORES)
    shares = [make_inputs(replace(load, seed=core), format=tiny.format) for core in range(CORES)]
    jobs = [build_job(load, inputs, tiny, base=BASE + core * STEP, memory=whole) for core, inputs in enumerate(shares)]
    together = ClusterJob.of(jobs)
    alone = replace(together, phases=[[jobs[0].registers, *[None] * (CORES - 1)]])
    runs = run_cluster({"together": together, "alone": alone}, tiny, out=tmp_path, memory=whole).runs
    slow = run_cluster({"alone": alone}, tiny, out=tmp_path, memory=quarter).runs["alone"].phases[0].cores[0].cycles
    cycles = [core.cycles for core in runs["together"].phases[0].cores]
    assert max(cycles) < 1.03 * min(cycles)
    assert runs["alone"].phases[0].cores[0].cycles < min(cycles) and max(cycles) <= slow
