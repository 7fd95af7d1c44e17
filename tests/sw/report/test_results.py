"""The results folder: what is written is read back; what is not one is refused in one line."""

import json

import numpy as np
import pytest
from amla.sw.errors import AmlaError
from amla.sw.report.results import PROGRAM_FILE, REPORT_FILE, TRACE_FILE, read_folder


def test_round_trip(results_folder, make_job, toy_trace):
    job, _ = make_job()
    results = read_folder(results_folder)
    assert [command["text"] for command in results.commands] == [str(command) for command in job.program.commands]
    assert [command["stage"] for command in results.commands] == [note.stage for note in job.program.annotations]
    assert results.core["m"] == job.config.m and results.report["workload"] == "tiny"
    for name, column in toy_trace(job).items():
        assert np.array_equal(results.trace[name], column)
    assert int(results.traffic["bucket"]) == 64
    assert len(results.traffic["read"]) == -(-results.report["cycles"] // 64)


def test_the_simulator_leaves_no_trace_of_an_earlier_run(make_results, tmp_path):
    make_results(tmp_path)
    assert (tmp_path / TRACE_FILE).exists()
    make_results(tmp_path, rtl=False)
    assert not (tmp_path / TRACE_FILE).exists()
    results = read_folder(tmp_path)
    assert results.trace is None and results.traffic is None and results.commands


@pytest.mark.parametrize("name", [REPORT_FILE, PROGRAM_FILE, TRACE_FILE])
@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{}", b"\xff\xfe"])
def test_broken_folders_are_refused(make_results, tmp_path, name, content):
    make_results(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AmlaError, match=name):
        read_folder(tmp_path)


def test_a_trace_of_another_program_is_refused(make_results, tmp_path):
    make_results(tmp_path)
    program = json.loads((tmp_path / PROGRAM_FILE).read_text())
    del program["commands"][10:]
    (tmp_path / PROGRAM_FILE).write_text(json.dumps(program))
    with pytest.raises(AmlaError, match=r"must be of the program in program\.json with 10 commands, not of one with"):
        read_folder(tmp_path)
