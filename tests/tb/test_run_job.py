"""The job folder, end to end: written by software, run by the benches, read back."""

import json
import random

import numpy as np
import pytest
from amla.sw.compiler.packing import pack
from amla.sw.errors import AmlaError
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.run.compare import check_levels, expect
from amla.sw.run.job_folder import JOB_FILE
from amla.sw.run.rtl_job import read_results, run_rtl, write_job
from amla.tb.core.random_jobs import random_job


@pytest.fixture(scope="module")
def cases(tiny, seed):
    hbm = Memory.load("hbm")
    return [random_job(random.Random(f"{seed}/job/{number}"), tiny, memory=hbm) for number in range(3)]


@pytest.mark.regress
def test_jobs_run_bit_exact(cases, seed, tmp_path, capfd):
    jobs = {f"run-{number}": case.job for number, case in enumerate(cases)}
    write_job(tmp_path, jobs, seed=seed, stall=0.1)
    results = run_rtl(tmp_path)
    assert list(results.runs) == list(jobs)
    assert results.cycles_per_second > 0 and results.simulation_seconds > 0
    for case, run in zip(cases, results.runs.values(), strict=True):
        assert run.status == "done" and run.error is None
        check_levels(expect(case.job, case.inputs), run.output)
        assert all(sum(states.values()) == run.cycles for states in run.counters.values())
        assert sorted(run.trace["index"]) == list(range(len(case.job.program)))
        assert run.trace["start"].min() >= 0 and run.trace["end"].max() <= run.cycles
        assert case.job.bytes_read < run.bytes_read <= case.job.bytes_read + 2 * 32 * len(case.job.program)
        assert run.traffic["read"].sum() == pytest.approx(run.bytes_read)
        assert run.traffic["written"].sum() == pytest.approx(run.bytes_written)
        assert 0 < run.peak_read <= case.job.config.axi_data_bytes + 1e-9
        assert np.count_nonzero(run.trace["engine"] == 3) > 0 and run.cube_active > 0
    lines = capfd.readouterr().out.splitlines()
    assert all(any(line.startswith(f"{name}: done, ") for line in lines) for name in jobs)


@pytest.mark.regress
def test_cycles_do_not_depend_on_earlier_runs(cases, tmp_path):
    """Open rows and the phase of refresh are those of a new memory."""
    write_job(tmp_path, {"first": cases[0].job, "other": cases[1].job, "again": cases[0].job})
    runs = run_rtl(tmp_path).runs
    assert runs["first"].cycles == runs["again"].cycles


@pytest.mark.regress
def test_jobs_of_two_memories_are_refused(cases, tiny, tmp_path):
    other = random_job(random.Random(1), tiny, memory=IDEAL).job
    with pytest.raises(ValueError, match="jobs must be of one configuration and memory, not of 2"):
        write_job(tmp_path, {"hbm": cases[0].job, "ideal": other})


@pytest.mark.regress
def test_a_fault_is_reported_and_the_next_run_goes_on(cases, seed, tmp_path):
    jobs = {"bad": cases[0].job, "good": cases[1].job}
    write_job(tmp_path, jobs, seed=seed)
    content = json.loads((tmp_path / JOB_FILE).read_text())
    commands = cases[0].job.program.commands
    content["runs"][0]["phases"][0][0]["PROGRAM_LENGTH"] = len(list(pack(command.encode() for command in commands[:3])))
    (tmp_path / JOB_FILE).write_text(json.dumps(content))
    runs = run_rtl(tmp_path).runs
    assert runs["bad"].status == "error"
    assert runs["bad"].error == {"code": "TRUNCATED_PROGRAM", "engine": "SEQUENCER", "index": 3, "row": 0}
    assert runs["good"].status == "done"
    check_levels(expect(cases[1].job, cases[1].inputs), runs["good"].output)


def test_bad_jobs_are_refused(cases, tmp_path):
    with pytest.raises(ValueError, match="jobs must be of one configuration and memory, not of 0"):
        write_job(tmp_path, {})
    with pytest.raises(ValueError, match=r"names of runs must be file names, not '\.\./x'"):
        write_job(tmp_path, {"../x": cases[0].job})
    with pytest.raises(AmlaError, match="left no results in"):
        read_results(tmp_path)
    with pytest.raises(AmlaError, match=r"failed \(exit status 2\)"):
        run_rtl(tmp_path / "missing")
