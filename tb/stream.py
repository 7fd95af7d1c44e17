"""Stream driver, stream monitor and in-order scoreboard for benches of stream components.

Streams are Amaranth's: ``<prefix>__payload``, ``<prefix>__valid``, ``<prefix>__ready``; a payload is one
unsigned integer (pack a struct with ``Layout.const(...).as_value()`` or by shifting). A stream without
payload bits (``unsigned(0)``) carries zeros.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.task import Task, current_task
from cocotb.triggers import Event, RisingEdge, SimTimeoutError, Timer, with_timeout

from .signals import Pin, has_pin

__all__ = ["BENCH_CYCLES", "CLOCK_NS", "PATIENCE", "Scoreboard", "StreamDriver", "StreamMonitor", "reset",
           "start_clock", "until"]

#: Clock period of every bench.
CLOCK_NS = 2

#: Cycles after which a bench fails that asks for no more.
BENCH_CYCLES = 200_000

#: Cycles that a bench waits for one event.
PATIENCE = 20_000


def start_clock(dut, *, cycles: int = BENCH_CYCLES) -> None:
    """Start the clock ``clk``, and with it the limit of the bench that runs: after ``cycles`` it fails.

    So no bench waits for ever; the message says where it stands.
    """
    Clock(dut.clk, CLOCK_NS, "ns").start()
    cocotb.start_soon(_limit(current_task(), cycles))


async def _limit(bench: Task, cycles: int) -> None:
    await Timer(cycles * CLOCK_NS, "ns")
    where = [f"{frame.line} ({Path(frame.filename).name}:{frame.lineno})" for frame in bench._get_coro_stack()
             if "cocotb" not in Path(frame.filename).parts]
    raise AssertionError(f"the bench has not ended in {cycles} cycles; it stands at {' > '.join(where)}")


async def until(dut, condition: Callable[[], object], what: str, *, cycles: int = PATIENCE) -> None:
    """Wait for ``condition``, looked at after every clock edge; fails after ``cycles``, naming ``what``."""
    for _ in range(cycles):
        if condition():
            return
        await RisingEdge(dut.clk)
    raise AssertionError(f"{what}: not in {cycles} cycles")


async def reset(dut, cycles: int = 2) -> None:
    """Hold ``rst`` for ``cycles`` clock edges; returns right after the first edge without reset.

    A design without registers has no ``rst``; then only the clock edges pass.
    """
    rst = Pin(dut, "rst") if has_pin(dut, "rst") else None
    if rst:
        rst.set(1)
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    if rst:
        rst.set(0)
    await RisingEdge(dut.clk)


class StreamDriver:
    """Drives an input stream of the design, back to back or with random pauses.

    Parameters
    ----------
    dut, prefix, clock: top level, name of the stream, clock signal (``dut.clk``)
    rng:                source of the pauses; needed when ``stall`` is not zero
    stall:              probability of one more idle cycle before a transfer
    """

    def __init__(self, dut, prefix: str, clock, *, rng: random.Random | None = None, stall: float = 0.0):
        _check_stall(rng, stall)
        self.prefix = prefix
        self.payload = Pin(dut, f"{prefix}__payload") if has_pin(dut, f"{prefix}__payload") else None
        self.valid = Pin(dut, f"{prefix}__valid")
        self.ready = Pin(dut, f"{prefix}__ready")
        self.valid.set(0)
        self.sent = 0
        self._edge = RisingEdge(clock)
        self._rng = rng
        self._stall = stall

    async def send(self, payload: int) -> None:
        """Transfer one payload; returns right after the edge at which it was taken, fails after ``PATIENCE`` cycles."""
        while self._rng is not None and self._rng.random() < self._stall:
            await self._edge
        if self.payload is not None:
            self.payload.set(payload)
        self.valid.set(1)
        for _ in range(PATIENCE):
            await self._edge
            if self.ready.get():
                break
        else:
            raise AssertionError(f"{self.prefix}: payload {self.sent} was not taken in {PATIENCE} cycles")
        self.valid.set(0)
        self.sent += 1

    async def send_all(self, payloads: Iterable[int]) -> None:
        """Transfer all payloads in order."""
        for payload in payloads:
            await self.send(payload)


class StreamMonitor:
    """Takes everything from an output stream of the design and checks its protocol.

    From construction on it drives ``ready`` and collects payloads in ``items``. A payload that changes, or a
    valid that falls, before the transfer fails the test.

    Parameters
    ----------
    dut, prefix, clock: top level, name of the stream, clock signal (``dut.clk``)
    rng, stall:         probability that ``ready`` is low in a cycle; ``rng`` is needed when it is not zero
    callback:           called with every payload, e.g. ``Scoreboard.observe``
    """

    def __init__(self, dut, prefix: str, clock, *, rng: random.Random | None = None, stall: float = 0.0,
                 callback: Callable[[int], None] | None = None):
        _check_stall(rng, stall)
        self.prefix = prefix
        self.payload = Pin(dut, f"{prefix}__payload") if has_pin(dut, f"{prefix}__payload") else None
        self.valid = Pin(dut, f"{prefix}__valid")
        self.ready = Pin(dut, f"{prefix}__ready")
        self.items: list[int] = []
        self._edge = RisingEdge(clock)
        self._rng = rng
        self._stall = stall
        self._callback = callback
        self._arrival = Event()
        self._task = cocotb.start_soon(self._run())

    def stop(self) -> None:
        """Stop collecting; ``ready`` keeps its last value."""
        self._task.cancel()

    async def wait(self, count: int, *, cycles: int = PATIENCE) -> list[int]:
        """Wait until ``count`` payloads have come, return ``items``; fails after ``cycles`` without."""
        while len(self.items) < count:
            self._arrival.clear()
            try:
                await with_timeout(self._arrival.wait(), cycles * CLOCK_NS, "ns")
            except SimTimeoutError:
                raise AssertionError(
                    f"{self.prefix}: {len(self.items)} of {count} payloads came, then none for "
                    f"{cycles} cycles"
                ) from None
        return self.items

    async def _run(self) -> None:
        get = self.payload.get if self.payload is not None else (lambda: 0)
        pending: int | None = None  # payload that was offered and not taken
        ready = self._draw()
        while True:
            await self._edge
            if self.valid.get():
                payload = get()
                assert pending is None or payload == pending, \
                    f"{self.prefix}: payload changed from {pending:#x} to {payload:#x} before it was taken"
                pending = None if ready else payload
                if ready:
                    self.items.append(payload)
                    self._arrival.set()
                    if self._callback is not None:
                        self._callback(payload)
            else:
                assert pending is None, f"{self.prefix}: valid fell before payload {pending:#x} was taken"
            ready = self._draw()

    def _draw(self) -> bool:
        ready = self._rng is None or self._rng.random() >= self._stall
        self.ready.set(int(ready))
        return ready


class Scoreboard:
    """Compares observed transactions with expected ones, in order.

    Either side may run ahead of the other. The first mismatch fails at once and names its index and both
    values; :meth:`finish` fails on leftovers of either side and when nothing was compared.
    """

    def __init__(self, name: str):
        self.name = name
        self.compared = 0
        self._expected: deque[int] = deque()
        self._observed: deque[int] = deque()

    def expect(self, *values: int) -> None:
        """Append expected values."""
        self._expected.extend(values)
        self._compare()

    def observe(self, value: int) -> None:
        """Append one observed value."""
        self._observed.append(value)
        self._compare()

    @property
    def next(self) -> int | None:
        """The value expected next, if one is known."""
        return self._expected[0] if self._expected else None

    def put_back(self, value: int) -> None:
        """``value``, compared before, was not the one expected, which is still to come."""
        self._expected.appendleft(value)
        self.compared -= 1

    def finish(self) -> None:
        """Check that both sides are used up and that at least one transaction was compared."""
        assert not self._expected, f"{self.name}: {len(self._expected)} expected transactions never came, " \
                                   f"the first is {self._expected[0]:#x} at index {self.compared}"
        assert not self._observed, f"{self.name}: {len(self._observed)} unexpected transactions, " \
                                   f"the first is {self._observed[0]:#x} at index {self.compared}"
        assert self.compared, f"{self.name}: no transaction seen"

    def _compare(self) -> None:
        while self._expected and self._observed:
            expected, observed = self._expected.popleft(), self._observed.popleft()
            assert expected == observed, \
                f"{self.name}: transaction {self.compared} is {observed:#x}, expected {expected:#x}"
            self.compared += 1


def _check_stall(rng: random.Random | None, stall: float) -> None:
    if not 0.0 <= stall < 1.0:
        raise ValueError(f"stall must be a probability below 1, not {stall!r}")
    if stall and rng is None:
        raise ValueError(f"rng must be given with a stall probability, not {rng!r}")
