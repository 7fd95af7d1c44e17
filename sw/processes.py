"""Child processes that never outlive their parent: not when it is interrupted, nor when it is killed."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

__all__ = ["run_child"]

#: The C library's prctl where there is one, and its request for a signal on the parent's death (Linux).
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def run_child(command: Sequence[Any], *, timeout: float | None = None, group: bool = False, **options: Any) -> int:
    """Exit status of a command; negative, the number of the signal that ended it.

    However this call ends, the child has ended before. If this process is killed, the child gets SIGKILL; with
    ``group`` SIGTERM, upon which it has to end its group (Linux).

    Parameters
    ----------
    command: program and arguments
    timeout: seconds after which the child is killed
    group:   give the child a process group of its own, which ends with it: for children that have children
    options: further ones of :class:`subprocess.Popen`

    Raises
    ------
    subprocess.TimeoutExpired: the command ran longer.
    OSError:                   it could not be started.
    """
    parent, death = os.getpid(), signal.SIGTERM if group else signal.SIGKILL

    def in_child() -> None:
        if _PRCTL is not None:
            _PRCTL(_PR_SET_PDEATHSIG, int(death))
        if os.getppid() != parent:  # it died before the request
            os._exit(1)

    process = subprocess.Popen(command, preexec_fn=in_child, start_new_session=group, **options)
    try:
        return process.wait(timeout)
    finally:
        if group:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            process.kill()
        process.wait()
