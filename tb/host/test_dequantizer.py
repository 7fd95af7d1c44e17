"""Bench of the dequantizer: random tasks of both layouts, wherever they begin, against the golden caches."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import cocotb
import numpy as np
from amla.model.cache.fp8_cache import dequantize_fp8
from amla.model.cache.fp8_pages import dequantize_fp8_pages
from amla.model.fp.corners import fp32_corners
from amla.rtl.host.axi import Response
from amla.rtl.host.dequantizer import Dequantizer
from amla.tb.signals import Pin
from amla.tb.stream import Scoreboard, StreamDriver, StreamMonitor, reset, start_clock, until
from cocotb.triggers import ClockCycles, RisingEdge

MAX_ROWS = 64


@dataclass(frozen=True)
class Task:
    """A task's payload, the bytes of its beats, and its rows as BF16 words."""

    payload: int
    data: np.ndarray
    words: np.ndarray


def make_task(rng: np.random.Generator, data_bytes: int, *, pages: bool, rows: int, first: int | None = None) -> Task:
    """Any codes; scales of any kind, half of them around 1; garbage around."""
    first = int(rng.integers(data_bytes // 16)) if first is None else first
    first_scale = int(rng.integers(data_bytes // 8)) if first else 0
    if pages:
        page = rng.integers(0, 256, (1, rows, 584), np.uint8)
        parts = page.reshape(-1)
        powers = parts[576 * rows:]
        np.copyto(powers, rng.integers(117, 138, powers.shape, np.uint8), where=rng.random(powers.shape) < 0.5)
        words = dequantize_fp8_pages(page, np.arange(rows))
        data = [*_around(rng, powers, 8 * first_scale, data_bytes),
                *_around(rng, parts[:576 * rows], 16 * first, data_bytes)]
    else:
        tokens = rng.integers(0, 256, (rows, 656), np.uint8)
        scales = rng.choice(fp32_corners(), (rows, 4))
        np.copyto(scales, np.exp2(rng.uniform(-10, 10, (rows, 4))).astype(np.float32).view(np.uint32),
                  where=rng.random((rows, 4)) < 0.5)
        tokens[:, 512:528] = np.ascontiguousarray(scales).view(np.uint8)
        words = dequantize_fp8(tokens)
        data = list(_around(rng, tokens.reshape(-1), 16 * first, data_bytes))
    bits = (data_bytes // 16 - 1).bit_length() or 1
    payload = pages | rows << 1 | first << 17 | first_scale << 17 + bits
    return Task(payload, np.stack(data), words.reshape(-1, data_bytes // 2))


def _around(rng: np.random.Generator, data: np.ndarray, before: int, data_bytes: int) -> Iterator[np.ndarray]:
    """Beats of bytes, with garbage before and behind them."""
    behind = -(before + len(data)) % data_bytes
    ends = [rng.integers(0, 256, count, np.uint8) for count in (before, behind)]
    yield from np.concatenate([ends[0], data, ends[1]]).reshape(-1, data_bytes)


def as_integers(beats: np.ndarray) -> list[int]:
    return [int.from_bytes(np.ascontiguousarray(beat).tobytes(), "little") for beat in beats]


class Bench:
    """The design with a driver at each input."""

    def __init__(self, dut, *, rng: random.Random | None = None, stall: float = 0.0):
        self.dut = dut
        self.data_bytes = Pin(dut, "beats__payload").width // 8
        self.tasks = StreamDriver(dut, "task", dut.clk, rng=rng, stall=stall)
        self.beats = StreamDriver(dut, "beats", dut.clk, rng=rng, stall=stall)
        self.drop = Pin(dut, "drop")
        self.drop.set(0)

    def start(self, tasks: list[Task], bad: dict[int, Response] | None = None) -> None:
        """Begin to send; ``bad``: responses by number of the beat."""
        beats = as_integers(np.concatenate([task.data for task in tasks]))
        shift = 8 * self.data_bytes
        cocotb.start_soon(self.tasks.send_all([task.payload for task in tasks]))
        cocotb.start_soon(self.beats.send_all(
            [beat | int((bad or {}).get(index, 0)) << shift for index, beat in enumerate(beats)]))


@cocotb.test()
async def matches(dut):
    """Tasks of all lengths and beginnings, for several pause patterns."""
    start_clock(dut)
    for stall in (0.0, 0.3, 0.7):
        rng, numbers = random.Random(cocotb.RANDOM_SEED), np.random.default_rng(cocotb.RANDOM_SEED)
        bench = Bench(dut, rng=rng, stall=stall)
        await reset(dut)
        tasks = [make_task(numbers, bench.data_bytes, pages=bool(numbers.integers(2)),
                           rows=int(numbers.choice([1, 2, 3, 8, 17])))
                 for _ in range(40 * bench.data_bytes // 128 + 10)]
        board = Scoreboard("rows")
        monitor = StreamMonitor(dut, "out", dut.clk, rng=rng, stall=stall, callback=board.observe)
        for task in tasks:
            board.expect(*as_integers(task.words))
        bench.start(tasks)
        await monitor.wait(sum(len(task.words) for task in tasks))
        await ClockCycles(dut.clk, 50)
        board.finish()
        monitor.stop()


@cocotb.test()
async def one_beat_per_cycle(dut):
    """Rows leave at a beat a cycle, across rows and tasks; the first one after its last beat and the latency."""
    start_clock(dut)
    for pages in (False, True):
        bench = Bench(dut)
        await reset(dut)
        numbers = np.random.default_rng(pages)
        for first in (0, bench.data_bytes // 16 - 1):
            tasks = [make_task(numbers, bench.data_bytes, pages=pages, rows=rows, first=first) for rows in (20, 20, 20)]
            monitor = StreamMonitor(dut, "out", dut.clk)
            bench.start(tasks)
            begun = bench.beats.sent
            if pages:  # its first output beat's values; scales came before
                needed = len(tasks[0].data) - -(-(20 * 576 + 16 * first) // bench.data_bytes)
                needed += -(-(16 * first + bench.data_bytes // 2) // bench.data_bytes)
            else:  # its scales
                needed = -(-(16 * first + 528) // bench.data_bytes)
            waited = 0
            while not monitor.items:
                await RisingEdge(dut.clk)
                waited += bench.beats.sent - begun >= needed
            late = waited - 1 - Dequantizer.latency
            assert late in (-1, 0), f"{late} cycles later than the latency after the beat that is needed last"
            cycles = 0
            total = sum(len(task.words) for task in tasks)
            while len(monitor.items) < total:
                await RisingEdge(dut.clk)
                cycles += 1
            # Between tasks of pages the scales of the next one come first.
            assert cycles <= total + 4 * len(tasks), f"{total} beats in {cycles} cycles"
            monitor.stop()
            await ClockCycles(dut.clk, 20)


@cocotb.test()
async def errors_come_with_their_rows(dut):
    """A response that is an error comes out first with what is made from its beat; rows before it are whole."""
    start_clock(dut)
    rng, numbers = random.Random(cocotb.RANDOM_SEED), np.random.default_rng(cocotb.RANDOM_SEED)
    for trial in range(30):
        bench = Bench(dut, rng=rng, stall=0.2 * (trial % 3))
        await reset(dut)
        tasks = [make_task(numbers, bench.data_bytes, pages=bool(numbers.integers(2)), rows=4) for _ in range(3)]
        counts = np.cumsum([len(task.data) for task in tasks])
        wrong = int(numbers.integers(counts[-1]))
        which = int(np.searchsorted(counts, wrong, side="right"))
        response = [Response.SLVERR, Response.DECERR][trial % 2]
        monitor = StreamMonitor(dut, "out", dut.clk, rng=rng, stall=0.2)
        bench.start(tasks, {wrong: response, max(wrong - 1, 0): Response.EXOKAY} if wrong else {wrong: response})
        total = sum(len(task.words) for task in tasks)
        await monitor.wait(total)
        responses = [item >> 8 * bench.data_bytes for item in monitor.items]
        begin = sum(len(task.words) for task in tasks[:which])
        bad = [index for index, found in enumerate(responses) if found]
        assert bad and {responses[index] for index in bad} == {response}
        assert begin <= bad[0] and bad[-1] < begin + len(tasks[which].words)
        row = len(tasks[which].words) // 4
        into = wrong - (counts[which - 1] if which else 0)
        assert bad[-1] - bad[0] < 4 * row and into < len(tasks[which].data)
        whole = as_integers(np.concatenate([task.words for task in tasks]))
        mask = (1 << 8 * bench.data_bytes) - 1
        assert all(item & mask == wanted for item, wanted in zip(monitor.items, whole, strict=True))
        monitor.stop()


@cocotb.test()
async def drops(dut):
    """With ``drop`` all beats go and none comes."""
    start_clock(dut)
    bench = Bench(dut)
    await reset(dut)
    task = make_task(np.random.default_rng(1), bench.data_bytes, pages=False, rows=6)
    monitor = StreamMonitor(dut, "out", dut.clk)
    bench.start([task])
    await until(dut, lambda: len(monitor.items) > 3, "beats")
    bench.drop.set(1)
    await RisingEdge(dut.clk)
    seen = len(monitor.items)
    await until(dut, lambda: bench.beats.sent == len(task.data), "all beats are taken")
    await bench.beats.send_all([0] * 300)
    assert len(monitor.items) <= seen + 1
