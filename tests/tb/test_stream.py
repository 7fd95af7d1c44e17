"""Stream and memory helpers, in simulation."""

from pathlib import Path

import amla.tb
import pytest
from amla.tb.designs import Lookup
from amla.tb.runner import BenchError, run_bench


@pytest.mark.smoke
def test_stream():
    run_bench(Lookup(words=24, width=40, grains=5), name="lookup", module="amla.tb.test_stream")


@pytest.mark.smoke
def test_a_bench_without_end_fails():
    where = r"not ended in 1000 cycles; it stands at await StreamMonitor.*test_stream.py:\d+"
    with pytest.raises(BenchError, match=where):
        run_bench(Lookup(words=24, width=40, grains=5), name="lookup", module="amla.tb.test_stream",
                  testcase="waits_for_ever", env={"HANGS": "1"})


def test_every_clock_comes_with_a_limit():
    folder = Path(next(iter(amla.tb.__path__)))
    assert [path.name for path in folder.rglob("*.py") if " Clock(" in path.read_text()] == ["stream.py"]
