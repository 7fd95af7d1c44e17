"""Start and end of every command, from the core's trace output."""

from collections.abc import Mapping

import cocotb
import numpy as np
from amla.rtl.isa import INDEX_BITS, Engine
from cocotb.triggers import RisingEdge
from cocotb.utils import get_sim_steps, get_sim_time

from ..signals import Pin
from ..stream import CLOCK_NS

__all__ = ["Trace", "check_trace"]


class Trace:
    """Records the trace output; costs nothing in cycles without an event.

    Parameters
    ----------
    dut:    top level
    prefix: of the signal names

    Members
    -------
    spans: [engine, index, start cycle, end cycle] of every command that started, end -1 while it runs;
           cycles since the simulation began
    """

    def __init__(self, dut, prefix: str = "trace"):
        self.spans: list[list[int]] = []
        self._open: dict[tuple[int, int], list[int]] = {}
        self._valid = Pin(dut, f"{prefix}_valid")
        self._pins = [Pin(dut, f"{prefix}_{name}") for name in ("start", "start_index", "end", "end_index")]
        self._edge = RisingEdge(dut.clk)
        self._period = get_sim_steps(CLOCK_NS, "ns")
        cocotb.start_soon(self._run())

    def clear(self) -> None:
        """Forget everything."""
        self.spans.clear()
        self._open.clear()

    def arrays(self, origin: int) -> dict[str, np.ndarray]:
        """Columns of ``spans``; cycles counted from cycle ``origin``."""
        table = np.array(self.spans, np.int64).reshape(-1, 4)
        start, end = table[:, 2] - origin, np.where(table[:, 3] < 0, -1, table[:, 3] - origin)
        return {"engine": table[:, 0].astype(np.uint8), "index": table[:, 1], "start": start, "end": end}

    async def _run(self) -> None:
        start, start_index, end, end_index = (pin.get for pin in self._pins)
        mask = (1 << INDEX_BITS) - 1
        rises = RisingEdge(self._valid.handle)
        while True:
            if not self._valid.get():
                await rises
            await self._edge
            if not self._valid.get():
                continue
            cycle = get_sim_time("step") // self._period
            started, ended = start(), end()
            # Starts first: FENCE and HALT may start and end in one cycle.
            if started:
                indices = start_index()
                for engine in Engine:
                    if started >> engine & 1:
                        span = [int(engine), indices >> INDEX_BITS * engine & mask, cycle, -1]
                        self.spans.append(span)
                        self._open[span[0], span[1]] = span
            if ended:
                indices = end_index()
                for engine in Engine:
                    if ended >> engine & 1:
                        index = indices >> INDEX_BITS * engine & mask
                        span = self._open.pop((int(engine), index), [])
                        assert span, f"trace: command {index} of {engine.name} ends without a start"
                        span[3] = cycle


def check_trace(trace: Mapping[str, np.ndarray], cycles: int, commands: int) -> None:
    """Every command starts and ends once, within the run; every engine in program order."""
    assert sorted(trace["index"]) == list(range(commands)), "the trace does not name every command once"
    assert (trace["end"] >= trace["start"]).all() and trace["start"].min() >= 0
    assert trace["end"].max() <= cycles
    for engine in set(trace["engine"]):
        own = trace["index"][trace["engine"] == engine]
        assert (own[1:] > own[:-1]).all(), f"engine {engine} starts commands out of order"
