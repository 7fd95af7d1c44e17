"""``python -m amla.tb.run_job FOLDER``: simulate a job folder (see :mod:`amla.sw.run.job_folder`) on the RTL.

Builds the core, or the cluster, of the folder's configuration when it has changed, runs all its programs in one
simulation, and writes the results back into the folder. Progress goes to the standard output, a line every few seconds.
"""

if __name__ == "__main__":
    from amla.rtl.command import run

    run("amla.tb.run_job", "sim")

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amla.rtl.config import CoreConfig
from amla.sw.run.job_folder import JOB_FILE, PROGRESS_FILE, RESULT_FILE

from .build_core import build_core, top_of
from .runner import BenchError, run

__all__ = ["main"]

_POLL_SECONDS = 0.5


@contextmanager
def _passing_on(path: Path) -> Iterator[None]:
    """Print what is appended to a file while the body runs."""
    path.write_text("", encoding="utf-8")
    stop = threading.Event()

    def follow() -> None:
        with path.open(encoding="utf-8") as file:
            ending = False
            while not ending:
                ending = stop.wait(_POLL_SECONDS)
                print(file.read(), end="", flush=True)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _end(number: int, _) -> None:
    """End with all children: this process leads a group of its own where :mod:`amla.sw.run.job_folder` started it."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    sys.exit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, _end)
    parser = argparse.ArgumentParser(prog="python -m amla.tb.run_job", description="Simulate a job folder.")
    parser.add_argument("folder", type=Path, help="folder with job.json")
    parser.add_argument("--waves", action="store_true", help="write dump.vcd into the folder (slow, large)")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    try:
        job = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"cannot read {folder / JOB_FILE}: {error}", file=sys.stderr)
        return 2
    waves = arguments.waves or job["waves"]
    began = time.perf_counter()
    try:
        built = build_core(
            CoreConfig.from_dict(job["config"]), cores=job["cores"], waves=waves,
            say=lambda text: print(text, flush=True)
        )
        build_seconds = time.perf_counter() - began
        (folder / RESULT_FILE).unlink(missing_ok=True)
        with _passing_on(folder / PROGRESS_FILE):
            run(built, name=top_of(job["cores"]), module="amla.tb.cluster.job_bench", seed=job["seed"],
                results=folder, waves=waves, env={"AMLA_JOB": str(folder)})
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    result["build_seconds"] = build_seconds
    (folder / RESULT_FILE).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0
