"""Children end with their parent, whatever ends it."""

import signal
import subprocess
import sys
import time

import pytest
from amla.sw.processes import run_child

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
#: A child with a child of its own.
NEST = [sys.executable, "-c", f"import subprocess; subprocess.run({SLEEP!r})"]


def test_the_exit_status():
    assert run_child([sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert run_child([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == -9


@pytest.mark.parametrize(("command", "group"), [(SLEEP, False), (NEST, True)])
def test_out_of_time(family, command, group):
    with pytest.raises(subprocess.TimeoutExpired):
        run_child(command, timeout=0.5, group=group, env=family.environment)
    assert family.has_ended(seconds=5)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize(("command", "group"), [(SLEEP, False), (SLEEP, True)])
def test_the_parent_ends(family, command, group, end):
    code = f"from amla.sw.processes import run_child; run_child({command!r}, group={group})"
    parent = subprocess.Popen([sys.executable, "-c", code], env=family.environment, stderr=subprocess.DEVNULL)
    while len(family.pids()) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(end)
    parent.wait(5)
    assert family.has_ended(seconds=5)


def test_a_group_ends_with_its_leader(family):
    leader = [sys.executable, "-c", f"import subprocess; subprocess.Popen({SLEEP!r})"]
    assert run_child(leader, group=True, env=family.environment) == 0
    assert family.has_ended(seconds=5)
