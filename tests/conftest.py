"""Session-wide: one seed, named in the header and in the JUnit XML, and the configurations."""

import os
import random
import resource
import shlex
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from amla.rtl.config import CoreConfig

# Two processes that compile the same function for the first time may leave a mixture of both in Numba's cache, which
# then crashes whoever loads it. Workers of pytest-xdist, and the simulations they start, have a cache each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(
        Path(os.environ.get("AMLA_BUILD", "build")).resolve() / "numba" / os.environ["PYTEST_XDIST_WORKER"])

# A shell's background jobs ignore SIGINT, and so would all children that a test interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    # Set before pytest-xdist starts its workers, so that they all inherit it.
    os.environ.setdefault("AMLA_SEED", str(random.SystemRandom().randrange(2**31)))


def pytest_report_header(config):
    arguments = shlex.join(str(argument) for argument in config.invocation_params.args)
    seed = os.environ["AMLA_SEED"]
    return f"seed {seed}; rerun: AMLA_SEED={seed} python -m pytest {arguments}"


@pytest.fixture(autouse=True)
def _seed_in_report(record_property):
    record_property("seed", int(os.environ["AMLA_SEED"]))


@pytest.fixture(scope="session")
def seed() -> int:
    """The session's seed."""
    return int(os.environ["AMLA_SEED"])


@pytest.fixture(scope="session")
def tiny() -> CoreConfig:
    """The configuration ``tiny``."""
    return CoreConfig.load("tiny")


@pytest.fixture(scope="session")
def small() -> CoreConfig:
    """The configuration ``small``."""
    return CoreConfig.load("small")


@pytest.fixture(scope="session")
def no_room():
    """``with no_room(size)``: no file may become longer than ``size`` bytes, as if the disk were full then."""
    @contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit
