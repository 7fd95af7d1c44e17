"""Runs on Dask: the same table from any workers, nothing lost to whatever cuts a run off, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from amla.sw.cli import main
from amla.sw.errors import AmlaError
from amla.sw.explore import run
from amla.sw.explore.command import PAGE
from amla.sw.explore.evaluate import RESULTS, version
from amla.sw.explore.run import BATCH, PARTS, TABLE, explore, read_parts
from amla.sw.explore.space import Space
from distributed import Client, LocalCluster

AMLA = [sys.executable, "-c", "from amla.sw.cli import main; main()", "explore"]

#: Nine batches.
LONG = """
cores: [{core: tiny, l1_bytes: [4096, 8192, 16384], lanes: [2, 3]}]
memories: [{memory: hbm, bytes_per_cycle: [2, 4, 8, 16]}]
workloads: [{workload: tiny, lengths: [[200], [300], [400]]}]
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of a space that one worker evaluated without a break; the space is beside it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "long.yaml").write_text(LONG, encoding="utf-8")
    _check(start(folder / "long.yaml", "--out", folder / "out", "--workers", 1))
    return folder / "out"


def start(*arguments, env=None):
    return subprocess.Popen([*AMLA, *map(str, arguments)], env=env, start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")


def _check(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    return out


def wait_for_parts(process: subprocess.Popen, out: Path) -> None:
    while not list(out.glob(f"{PARTS}/*.parquet")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def same(out: Path, whole: Path) -> bool:
    return (out / TABLE).read_bytes() == (whole / TABLE).read_bytes()


def test_the_table(whole):
    table = pq.read_table(whole / TABLE)
    space = Space.load(whole.parent / "long.yaml")
    assert table.column_names == ["key", *space.axes, *RESULTS]
    rows = table.to_pylist()
    assert [{axis: row[axis] for axis in space.axes} for row in rows] == [point.axes for point in space.points]
    assert [row["key"] for row in rows] == [point.key(version()) for point in space.points]
    assert all((row["reason"] is None) == (row["core.lanes"] == 2) == (row["cycles"] is not None) for row in rows)
    assert table.schema.metadata[b"version"].decode() == version()
    page = (whole / PAGE).read_text(encoding="utf-8")
    assert "36 cannot be" in page and "The front: " in page


def test_two_workers_give_the_same(whole, tmp_path):
    out = _check(start(whole.parent / "long.yaml", "--out", tmp_path / "out", "--workers", 2))
    assert "72 of 72 points" in out and out.splitlines()[-2:] == [str(tmp_path / "out" / TABLE),
                                                                 str(tmp_path / "out" / PAGE)]
    assert "36 of 72 points cannot be" in out
    assert same(tmp_path / "out", whole)


def test_a_cluster_by_address_gives_the_same(whole, tmp_path):
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0",
                      local_directory=tmp_path) as cluster:
        _check(start(whole.parent / "long.yaml", "--out", tmp_path / "out", "--scheduler", cluster.scheduler_address))
        assert len(cluster.scheduler_info["workers"]) == 2
    assert same(tmp_path / "out", whole)


@pytest.mark.parametrize(("end", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_cut_off_and_resumed(whole, tmp_path, family, end, status):
    """Ctrl-C goes to the whole process group; SIGKILL to one process, whose workers then end by themselves."""
    arguments = whole.parent / "long.yaml", "--out", tmp_path / "out", "--workers", 2
    process = start(*arguments, env=family.environment)
    wait_for_parts(process, tmp_path / "out")
    (os.killpg if end == signal.SIGINT else os.kill)(process.pid, end)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status and (end == signal.SIGKILL or err == "amla: interrupted\n")
    assert family.has_ended()
    kept = read_parts(tmp_path / "out" / PARTS)
    assert BATCH <= len(kept) < 72 and not (tmp_path / "out" / TABLE).exists()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / PARTS).glob("*.parquet")}
    out = _check(start(*arguments))
    assert out.startswith(f"   {len(kept)} of 72 points\n")
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())
    assert same(tmp_path / "out", whole)


def test_a_worker_is_killed(whole, tmp_path, family):
    process = start(whole.parent / "long.yaml", "--out", tmp_path / "out", "--workers", 2, env=family.environment)
    wait_for_parts(process, tmp_path / "out")
    workers = [pid for pid in family.pids() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    _check(process)
    assert same(tmp_path / "out", whole) and family.has_ended()


@pytest.fixture
def in_this_process(monkeypatch):
    """Evaluate in threads of this process; returns the batches that were asked for."""
    batches = []

    @contextmanager
    def client(workers, scheduler):
        with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0",
                    set_as_default=False) as found:
            yield found

    def evaluated(client, asked):
        batches.extend(asked)
        yield from real(client, asked)

    real = run._evaluated
    monkeypatch.setattr(run, "_client", client)
    monkeypatch.setattr(run, "_evaluated", evaluated)
    return batches


def test_only_what_is_missing_is_evaluated(space_file, tmp_path, in_this_process):
    told = []
    out = tmp_path / "out"

    def again(text):
        told.clear()
        in_this_process.clear()
        return explore(Space.load(space_file(text)), out, progress=lambda *counts: told.append(counts))

    short = "cores: [tiny]\nmemories: [hbm]\nworkloads: [{workload: tiny, lengths: [[8], [9]]}]\n"
    first = again(short)
    assert told == [(0, 2), (2, 2)] and [len(batch) for batch in in_this_process] == [2]
    assert again(short).equals(first) and told == [(2, 2)] and not in_this_process
    longer = again(short.replace("[hbm]", "[hbm, ideal]"))
    assert told == [(2, 4), (4, 4)] and longer.slice(0, 2).equals(first)
    assert again(short).equals(first) and told == [(2, 2)]


def test_a_fault_of_the_model_is_a_row(space_file, tmp_path, in_this_process, monkeypatch):
    def fails(point):
        if point.workload.lengths == (9,):
            raise AssertionError("the streams wait for each other")
        return real(point)

    real = run.evaluate
    monkeypatch.setattr(run, "evaluate", fails)
    space = Space.load(space_file(
        "cores: [tiny]\nmemories: [hbm]\nworkloads: [{workload: tiny, lengths: [[8], [9]]}]\n"))
    table = explore(space, tmp_path / "out", progress=lambda *counts: None)
    assert table["reason"].to_pylist() == [None, "AssertionError: the streams wait for each other"]


def test_workers_of_another_version_are_refused(space_file, tmp_path, in_this_process, monkeypatch):
    real = run._evaluate
    monkeypatch.setattr(run, "_evaluate", lambda points, *, expected: real(points, expected="other"))
    with pytest.raises(AmlaError, match="workers have another version"):
        explore(Space.load(space_file()), tmp_path / "out", progress=lambda *counts: None)


@pytest.fixture
def amla(monkeypatch, capsys, tmp_path):
    """Run ``amla explore`` in an empty folder; returns (status, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["amla", "explore", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        return exit_info.value.code, capsys.readouterr().err

    return call


@pytest.mark.parametrize(("arguments", "message"), [
    (("nix",), "amla: cannot read space nix: No such file or directory\n"),
    (("tiny", "--workers", 0), "amla: --workers must be at least 1, not 0\n"),
    (("tiny", "--workers", 2, "--scheduler", "tcp://127.0.0.1:8786"),
     "amla: --workers must be given without --scheduler, whose workers are there already\n"),
    (("tiny", "--scheduler", "nowhere"), "amla: --scheduler nowhere does not answer: missing port"),
    (("tiny", "--out", "file"), "amla: cannot write into file: "),
])
def test_one_line_for_what_is_wrong(amla, tmp_path, arguments, message):
    (tmp_path / "file").touch()
    status, err = amla(*arguments)
    assert status == 2 and err.startswith(message) and err.count("\n") == 1


def test_a_scheduler_that_does_not_answer(amla, monkeypatch):
    monkeypatch.setattr(run, "_TIMEOUT", 0.5)
    status, err = amla("tiny", "--scheduler", "tcp://127.0.0.1:9")
    assert status == 2 and err.startswith("amla: --scheduler tcp://127.0.0.1:9 does not answer: Timed out")


def test_a_part_that_is_none(amla, tmp_path):
    folder = tmp_path / "build" / "explore" / "tiny" / PARTS
    folder.mkdir(parents=True)
    (folder / "0.parquet").write_bytes(b"PAR1")
    status, err = amla("tiny")
    assert status == 2 and err.startswith("amla: cannot read build/explore/tiny/parts/0.parquet: ")
