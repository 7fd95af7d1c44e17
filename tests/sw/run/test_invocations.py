"""Invocations of ``amla run`` beside each other, and cut off: each is right, and nothing is left behind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from amla.tb.build_core import build_core

AMLA = [sys.executable, "-c", "from amla.sw.cli import main; main()"]


def tagged(tag: str) -> dict[int, str]:
    """Processes that carry the tag in their environment, with their command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if tag.encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it ended meanwhile
    return found


@pytest.fixture
def amla(tmp_path):
    """Start ``amla run tiny`` on the RTL of tiny; whatever it leaves running is killed at the end."""
    tag = f"AMLA_TEST_TAG={tmp_path}"

    def start(*arguments, **environment):
        return subprocess.Popen(
            [*AMLA, "run", "tiny", "--config", "tiny", "--out", str(tmp_path / "runs"), *arguments],
            env={**os.environ, "AMLA_TEST_TAG": str(tmp_path), **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")

    start.tag = tag
    yield start
    for pid in tagged(tag):
        os.kill(pid, signal.SIGKILL)


def none_left(tag: str) -> bool:
    end = time.monotonic() + 5
    while (left := tagged(tag)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left, left
    return True


def check(process: subprocess.Popen) -> None:
    """It ended well, and with a result of the RTL."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err == "" and "device rtl" in out and "= golden  = simulator" in out


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.nightly)])
def test_two_at_once(amla, tiny, tmp_path, times):
    build_core(tiny)
    for _ in range(times):
        pair = [amla("--preload", "1", "--seed", "1"), amla("--preload", "2", "--seed", "2", "--no-baseline")]
        for process in pair:
            check(process)
        assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tiny-tiny"]
        report = json.loads((tmp_path / "runs" / "tiny-tiny" / "report.json").read_text(encoding="utf-8"))
        assert report["device"] == "rtl" and report["cycles"] > 0


def wait_for_simulation(amla, process) -> None:
    while not any("amla_core" in line.split(" ")[0] for line in tagged(amla.tag).values()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_simulation(amla, tiny, tmp_path, end):
    build_core(tiny)
    process = amla("--latency", "10000")
    wait_for_simulation(amla, process)
    process.send_signal(end)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 128 + end and none_left(amla.tag)
    assert err == "amla: interrupted\n"
    assert not [*(tmp_path / "runs").iterdir()]


def test_a_simulation_that_is_killed_is_an_error(amla, tiny, tmp_path):
    build_core(tiny)
    process = amla("--latency", "10000")
    wait_for_simulation(amla, process)
    for pid, line in tagged(amla.tag).items():
        if "amla_core" in line.split(" ")[0]:
            os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 2 and none_left(amla.tag)
    assert "amla: the RTL simulation of" in err.splitlines()[-1] and "Traceback" not in err
    assert not (tmp_path / "runs" / "tiny-tiny").exists()


@pytest.mark.nightly
def test_killed_at_any_time(amla, tmp_path, seed):
    """During the build, the simulation, the report: the next run is right, and nothing is left running."""
    rng = random.Random(seed)
    build = {"AMLA_BUILD": str(tmp_path / "build")}
    began = time.monotonic()
    check(amla(**build))
    build_seconds = time.monotonic() - began
    began = time.monotonic()
    check(amla(**build))
    run_seconds = time.monotonic() - began
    for number in range(20):
        built = number % 2
        if not built:
            for stamp in (tmp_path / "build").rglob("built"):
                stamp.unlink()
        process = amla(**build)
        try:
            process.wait(rng.uniform(0, run_seconds if built else build_seconds))
        except subprocess.TimeoutExpired:
            victims = [process.pid] if number % 4 < 2 else [*tagged(amla.tag)]
            os.kill(rng.choice(victims), rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)))
        process.communicate(timeout=300)
        assert none_left(amla.tag)
    check(amla(**build))
