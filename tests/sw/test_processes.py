"""Children end with their parent, whatever ends it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from amla.sw.processes import run_child

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
#: A child with a child of its own.
NEST = [sys.executable, "-c", f"import subprocess; subprocess.run({SLEEP!r})"]


def tagged(tag: str) -> list[int]:
    """Processes that carry the tag in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if tag.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def none_left(tag: str, *, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while (left := tagged(tag)) and time.monotonic() < end:
        time.sleep(0.05)
    return not left


@pytest.fixture
def tag(tmp_path, monkeypatch):
    value = f"AMLA_TEST_TAG={tmp_path}"
    yield value
    for pid in tagged(value):
        os.kill(pid, signal.SIGKILL)


def environment(tag: str) -> dict[str, str]:
    return {**os.environ, tag.partition("=")[0]: tag.partition("=")[2]}


def test_the_exit_status():
    assert run_child([sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert run_child([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == -9


@pytest.mark.parametrize(("command", "group"), [(SLEEP, False), (NEST, True)])
def test_out_of_time(tag, command, group):
    with pytest.raises(subprocess.TimeoutExpired):
        run_child(command, timeout=0.5, group=group, env=environment(tag))
    assert none_left(tag)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize(("command", "group"), [(SLEEP, False), (SLEEP, True)])
def test_the_parent_ends(tag, command, group, end):
    code = f"from amla.sw.processes import run_child; run_child({command!r}, group={group})"
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment(tag), stderr=subprocess.DEVNULL)
    while len(tagged(tag)) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(end)
    parent.wait(5)
    assert none_left(tag)


def test_a_group_ends_with_its_leader(tag):
    leader = [sys.executable, "-c", f"import subprocess; subprocess.Popen({SLEEP!r})"]
    assert run_child(leader, group=True, env=environment(tag)) == 0
    assert none_left(tag)
