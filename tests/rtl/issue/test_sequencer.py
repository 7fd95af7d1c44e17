"""The sequencer under its cocotb bench, with beats narrower and wider than a command."""

from dataclasses import replace

import pytest
from amla.rtl.config import CoreConfig
from amla.rtl.issue.sequencer import Sequencer
from amla.tb.runner import run_bench


@pytest.mark.smoke
@pytest.mark.parametrize("beat", [16, 64])
def test_sequencer(beat):
    config = replace(CoreConfig.load("tiny"), axi_data_bytes=beat)
    run_bench(Sequencer(config), name=f"sequencer_{beat}", module="amla.tb.issue.test_sequencer",
              env={"BENCH_BEAT_BYTES": str(beat)})
