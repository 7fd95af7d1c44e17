"""Bench of the load engine: random commands against a model of its bursts and of its L1 writes.

Every burst address and every L1 write is compared in order; memory and L1 stall at random.
"""

import random
from itertools import product

import cocotb
from amla.rtl.host.dequantizer import ROWS, Layout
from amla.rtl.isa import MOST_ROWS, Fault
from amla.rtl.issue.dispatch import MAX_UNFINISHED
from amla.tb.engines.wraps import wraps
from amla.tb.host.gm import PlannedError, Response
from amla.tb.stream import start_clock
from amla.tb.transfer.load_bench import CONFIG, GM_BYTES, IN_FLIGHT, LONGEST, Bench, Command, bench, ends_in_fault
from cocotb.triggers import RisingEdge


@cocotb.test()
async def random_commands(dut):
    """Bursts and L1 writes of random commands match the model, for several stall patterns."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for latency, stall, l1_stall, runs in (((1, 1), 0.0, 0.0, 12), ((1, 30), 0.3, 0.0, 12), ((1, 4), 0.1, 0.4, 12),
                                           ((20, 60), 0.6, 0.6, 12), ((1, 1000), 0.1, 0.1, 4)):
        test = Bench(dut, rng, latency=latency, stall=stall, l1_stall=l1_stall)
        await test.reset()
        for _ in range(runs):
            await test.run([test.random_command() for _ in range(12)])
        assert test.axi.quiet and test.pins["quiet"].get()
        test.bursts.finish()
        test.writes.finish()
        test.stop()


@cocotb.test()
async def zero_rows_need_no_memory(dut):
    """A command without rows writes zeros, one beat per cycle, and requests nothing."""
    test = await bench(dut)
    beats = 8
    command = Command(address=0, pitch=0, rows=0, rows_padded=16, cols=beats * test.config.beat_elements)
    await test.run([command] * 3)
    assert test.bursts.compared == 0 and not test.axi.traffic.reads
    assert test.done_cycles[2] - test.done_cycles[0] == 2 * 16 * beats
    assert test.stalls == 0
    test.writes.finish()


def _throughput_command(test: Bench) -> Command:
    """64 rows of 576 columns, or as much of it as L1 and GM hold."""
    config = test.config
    cols = 576 if config.name == "small" else 16 * config.beat_elements
    rows = min(64, config.l1_words * config.k * config.n // cols)
    return Command(address=test.base, pitch=2 * cols, rows=rows, rows_padded=rows, cols=cols)


@cocotb.test(skip=IN_FLIGHT < 2 * LONGEST)  # then every long burst waits for the one before
async def one_beat_per_cycle(dut):
    """A tile from memory without latency takes its beats and 16 cycles."""
    test = await bench(dut)
    command = _throughput_command(test)
    before = test.cycle
    await test.run([command])
    beats = command.rows * command.cols // test.config.beat_elements
    taken = test.done_cycles[-1] - before
    dut._log.info("%d beats in %d cycles", beats, taken)
    assert beats <= taken <= beats + 16


@cocotb.test(skip=not CONFIG.reads_fp8 or IN_FLIGHT < 2 * LONGEST)
async def fp8_rows_stream(dut):
    """Commands of FP8 rows, one after the other, fill L1 at 97 % of a beat a cycle, wherever they begin."""
    test = await bench(dut, latency=(100, 100))
    config = test.config
    for layout, row in ROWS.items():
        most = config.l1_words * config.k * config.n // row.columns
        rows = min(64, most // config.n * config.n)
        for address in (test.base, test.base + 16):
            command = Command(address=address, pitch=GM_BYTES // 2, rows=rows, rows_padded=rows, cols=row.columns,
                              fp8_656=layout == Layout.FP8_656, fp8_584=layout == Layout.FP8_584)
            beats = rows * row.columns // config.beat_elements
            await test.run([command] * (2 + 4096 // beats))
            steady = test.done_cycles[-1] - test.done_cycles[-1 - 4096 // beats]
            dut._log.info("%s, %d rows: %d beats in %d cycles", layout.name, rows, 4096 // beats * beats, steady)
            assert 4096 // beats * beats / steady >= 0.97
    test.writes.finish()


@cocotb.test(skip=IN_FLIGHT < 2 * LONGEST)  # then too few beats are in flight
async def latency_is_hidden(dut):
    """Commands in a row reach 95 % of a beat per cycle at the longest latency that what is in flight covers.

    Whatever the pitch, down to bursts of a single beat, and with eleven commands in flight.
    """
    latency = IN_FLIGHT - LONGEST - 8  # from the request to its answer, a burst that has to fit, the engine's own
    test = await bench(dut, latency=(latency, latency))
    config, size = test.config, test.size
    large = _throughput_command(test)
    short = Command(address=test.base, pitch=0, rows=-(-IN_FLIGHT // 11), rows_padded=-(-IN_FLIGHT // 11),
                    cols=config.beat_elements)
    for command in (large, Command(**{**vars(large), "pitch": large.pitch + size}), short):
        beats = command.rows * command.cols // config.beat_elements
        commands = [command] * (2 + 6 * IN_FLIGHT // beats)
        before = test.cycle
        await test.run(commands)
        taken = test.done_cycles[-1] - before
        dut._log.info("pitch %d: %d beats in %d cycles", command.pitch, beats * len(commands), taken)
        assert beats * len(commands) / (taken - latency) >= 0.95
        assert test.done_cycles[-1] - test.done_cycles[-2] <= beats + 2


def _flood(test: Bench, beats: int) -> Command:
    """Twice as many bursts of ``beats`` beats, each at a page's start, as may be in flight."""
    rows = 2 * (IN_FLIGHT // beats)
    return Command(address=test.base, pitch=4096 if rows * 4096 <= GM_BYTES else 0, rows=rows, rows_padded=rows,
                   cols=beats * test.config.beat_elements)


async def _fill(test: Bench, beats: int) -> None:
    """Send a flood to memory that does not answer, until nothing moves."""
    test.axi.hold = True
    await test.start.send(_flood(test, beats).encode())
    for _ in range(2 * IN_FLIGHT // beats + 50):
        await RisingEdge(test.dut.clk)
    limit = IN_FLIGHT // 2 if test.pins["writing"].get() else IN_FLIGHT
    assert test.unanswered == limit // beats * beats, f"{test.unanswered} beats in flight"


@cocotb.test()
async def as_many_beats_in_flight_as_may_be(dut):
    """Memory that does not answer sees ``axi_in_flight_bytes`` requested in whole bursts, and no more until it does;
    beside a STORE that sends half of them."""
    test = await bench(dut, latency=(1, 1))
    for beats, writing in product(sorted({1, 3, LONGEST - 1, LONGEST}), (0, 1)):
        test.expect(_flood(test, beats))
        test.pins["writing"].set(writing)
        await _fill(test, beats)
        test.pins["writing"].set(0)
        test.axi.hold, target = False, test.done + 1
        await test.until(lambda target=target: test.done == target, "the end of the flood")
    test.bursts.finish()
    test.writes.finish()


@cocotb.test()
async def stall_counts_waiting(dut):
    """``stall`` is high in the cycles in which memory or L1 makes a command wait, and only then."""
    test = await bench(dut, latency=(200, 200))
    command = Command(address=test.base, pitch=0, rows=1, rows_padded=1, cols=test.config.beat_elements)
    await test.run([command])
    assert 195 <= test.stalls <= 205
    before = test.stalls
    await test.run([Command(address=0, pitch=0, rows=0, rows_padded=9, cols=test.config.beat_elements)])
    assert test.stalls == before
    test.pins["l1_ready"].set(0)
    task = cocotb.start_soon(test.run([Command(address=0, pitch=0, rows=0, rows_padded=1,
                                               cols=test.config.beat_elements)]))
    await test.until(lambda: test.stalls == before + 50, "50 cycles of stall", cycles=100)
    assert test.done == 2
    test.pins["l1_ready"].set(1)
    await task


@cocotb.test()
async def short_commands_overlap(dut):
    """Many commands of one beat are in progress at a time, but never more than the protocol allows."""
    test = await bench(dut, latency=(100, 100))
    command = Command(address=test.base, pitch=0, rows=1, rows_padded=1, cols=test.config.beat_elements)
    await test.run([command] * 24)
    assert MAX_UNFINISHED - 2 <= test.most_unfinished <= MAX_UNFINISHED
    test.writes.finish()


def _bad(test: Bench) -> list[tuple[Fault, Command]]:
    """Commands that are each at fault in one way, close to legal ones."""
    config, size = test.config, test.size
    good = Command(address=test.base, pitch=size, rows=4, rows_padded=4, cols=config.beat_elements)
    all_rows = min(65535, config.l1_words // config.l1_banks * config.n)  # as many as L1 holds

    most = 1 << (all_rows - 1).bit_length() - 1  # steps between rows, a power of two

    def but(**changes) -> Command:
        return Command(**{**vars(good), **changes})

    window = [
        but(address=test.base - size), but(address=test.limit - 3 * size), but(address=test.limit),
        but(pitch=GM_BYTES // 3 // size * size + size), but(pitch=(1 << 32) - size, rows=2),
        but(address=(1 << 48) - 4 * size), but(address=test.base + (1 << config.axi_address_bits)),
        *(but(address=address, pitch=(1 << 32) - size, rows=all_rows, rows_padded=all_rows)
          for address in (test.base, (1 << 48) - size)),
        *(but(address=test.base + offset) for offset in wraps(GM_BYTES, 48) if test.base + offset < 1 << 48),
        but(pitch=1 << 31, rows=2),
        but(pitch=1 << 31, rows=most + 1, rows_padded=most + 1),
    ]
    fp8 = []
    if config.reads_fp8:
        for name, cols, row in (("fp8_656", 576, 656), ("fp8_584", 512, 576)):
            change = {name: True, "cols": cols, "rows": 1, "rows_padded": 1}
            last = test.limit - row
            fp8 += [
                *((Fault.READ_WINDOW, but(address=address, **change)) for address in (
                    test.base - 16, last + 16, test.limit, test.base + (1 << config.axi_address_bits), (1 << 48) - 16)),
                (Fault.READ_WINDOW, but(**change | {"address": last - row, "rows": 3, "rows_padded": 3})),
                (Fault.BAD_FIELD, but(**change | {"address": test.base + 8})),
                (Fault.BAD_FIELD, but(**change | {"pitch": 4})),
                (Fault.BAD_FIELD, but(**change | {"cols": cols - config.beat_elements})),
                (Fault.BAD_FIELD, but(**change | {"cols": cols + 64})),
                (Fault.BAD_FIELD, but(**change | {"rows": MOST_ROWS + 1, "rows_padded": MOST_ROWS + 1})),
                (Fault.BUFFER_OVERRUN, but(**change | {"l1": config.l1_words - config.l1_banks})),
            ]
        scales = {"fp8_584": True, "cols": 512, "rows": 2, "rows_padded": 2}
        fp8 += [(Fault.READ_WINDOW, but(**scales | {"address": address, "pitch": pitch})) for address, pitch in (
            (test.base, GM_BYTES), (test.base, GM_BYTES - 8), (test.base + 16, (1 << 32) - 8),
            (test.base, (1 << 32) - 32))]
        fp8.append((Fault.BAD_FIELD, but(fp8_656=True, fp8_584=True, cols=512, rows=1)))
    else:
        fp8 += [(Fault.BAD_FIELD, but(**{name: True})) for name in ("fp8_656", "fp8_584")]
    # Row groups of padding and beats of a row, each the largest power of two.
    groups, beats = (1 << (65535 // unit).bit_length() - 1 for unit in (config.n, config.beat_elements))
    return [
        *fp8,
        *((Fault.READ_WINDOW, command) for command in window),
        (Fault.BAD_FIELD, but(rows_padded=0)),
        (Fault.BAD_FIELD, but(cols=0)),
        (Fault.BAD_FIELD, but(cols=config.beat_elements + 1)),
        (Fault.BAD_FIELD, but(cols=config.beat_elements // 2)),
        (Fault.BAD_FIELD, but(address=test.base + size // 2)),
        (Fault.BAD_FIELD, but(pitch=size + 1)),
        *([(Fault.BAD_FIELD, but(l1=config.l1_banks // 2))] if config.l1_banks > 1 else []),
        (Fault.BUFFER_OVERRUN, but(l1=config.l1_words)),
        *((Fault.BUFFER_OVERRUN, but(l1=l1)) for l1 in wraps(config.l1_words, 24)),
        (Fault.BUFFER_OVERRUN, but(rows=0, rows_padded=groups * config.n, cols=beats * config.beat_elements)),
        (Fault.BUFFER_OVERRUN, but(l1=(1 << 24) - config.l1_banks)),
        (Fault.BUFFER_OVERRUN, but(l1=config.l1_words - config.l1_banks, row0=config.n - 1)),
        (Fault.BUFFER_OVERRUN, but(l1=config.l1_words - config.l1_banks, rows=0, rows_padded=config.n + 1)),
        (Fault.BUFFER_OVERRUN, but(rows=1, rows_padded=65535, pitch=0, cols=65536 - config.beat_elements)),
    ]


@cocotb.test()
async def commands_at_fault(dut):
    """A wrong command is named after those before it have finished; it and those after it touch nothing."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    number, total = 0, 1
    while number < total:
        test = Bench(dut, rng, latency=(1, 40), stall=0.2, l1_stall=0.2, top=number % 2)
        await test.reset()
        cases = _bad(test)
        total = len(cases)
        fault, wrong = cases[number]
        before = [test.random_command() for _ in range(rng.randrange(4))]
        for command in before:
            test.expect(command)
        await ends_in_fault(test, fault, [*before, wrong, test.random_command(), test.random_command()])
        assert len(test.axi.traffic.reads) == sum(len(test.model.bursts(command)) for command in before)
        if before:
            test.writes.finish()
        test.stop()
        number += 1


@cocotb.test()
async def legal_edges(dut):
    """Commands one step short of a fault run, up to the end of the address space."""
    test = await bench(dut, top=True)
    config, size = test.config, test.size
    depth = config.l1_words // config.l1_banks
    last = Command(address=test.limit - 4 * size, pitch=size, rows=4, rows_padded=4,
                   cols=config.beat_elements, l1=(depth - (4 - 1) // config.n - 1) * config.l1_banks)
    await test.run([
        last,
        Command(address=0, pitch=0, rows=0, rows_padded=1, cols=config.beat_elements),
        Command(address=test.base, pitch=(1 << 32) - size, rows=1, rows_padded=4, cols=config.beat_elements),
        Command(address=test.base, pitch=0, rows=65535, rows_padded=3, cols=config.beat_elements),
        Command(address=test.base, pitch=0, rows=2, rows_padded=min(config.n * depth, 16384),
                cols=config.beat_elements),
    ])
    test.writes.finish()
    test.bursts.finish()


@cocotb.test()
async def error_responses(dut):
    """RRESP errors: earlier commands finish, the beats before the error are written, nothing after."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for _ in range(30):
        test = Bench(dut, rng, latency=(1, 20), stall=rng.choice([0.0, 0.3]),
                     l1_stall=rng.choice([0.0, 0.4]))
        await test.reset()
        response = rng.choice([Response.SLVERR, Response.DECERR])
        fault = Fault[f"READ_{response.name}"]
        commands = [test.random_command() for _ in range(5)]
        bursts = [test.model.bursts(command) for command in commands]
        at_fault = rng.choice([index for index in range(5) if bursts[index]] or [None])
        if at_fault is None:
            test.stop()
            continue
        burst = rng.randrange(len(bursts[at_fault]))
        beat = rng.randrange(bursts[at_fault][burst][1])
        test.memory.read_errors.append(
            PlannedError(response, burst=sum(map(len, bursts[:at_fault])) + burst, beat=beat))
        for index, command in enumerate(commands):
            test.bursts.expect(*(address | beats << 64 for address, beats in bursts[index]))
            writes = test.model.writes(command)
            if index < at_fault:
                test.writes.expect(*writes)
                test.done_after.append(len(writes) + (test.done_after[-1] if test.done_after else 0))
            elif index == at_fault:
                bad = sum(beats for _, beats in bursts[index][:burst]) + beat
                needs = test.model.needs(commands[index])
                test.writes.expect(*writes[:next(place for place, beats in enumerate(needs) if bad in beats)])
        await ends_in_fault(test, fault, commands)
        assert test.done == at_fault
        if test.written:
            test.writes.finish()
        test.stop()


@cocotb.test()
async def errors_with_everything_in_flight(dut):
    """An error amid all that may be in flight: the beats before it are written, the rest arrives and is dropped."""
    start_clock(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    for response, beats in ((Response.SLVERR, 1), (Response.DECERR, LONGEST), (Response.SLVERR, 3)):
        test = Bench(dut, rng)
        await test.reset()
        flood = _flood(test, beats)
        burst, beat = rng.randrange(IN_FLIGHT // beats), rng.randrange(beats)
        test.memory.read_errors.append(PlannedError(response, burst=burst, beat=beat))
        test.bursts.expect(*(address | count << 64 for address, count in test.model.bursts(flood)))
        test.writes.expect(*test.model.writes(flood)[:burst * beats + beat])
        await _fill(test, beats)
        test.axi.hold = False
        await test.until(lambda test=test: test.fault is not None, "the fault")
        assert test.fault == Fault[f"READ_{response.name}"]
        assert test.unanswered >= IN_FLIGHT - 2 * LONGEST - 8, "too few beats left to arrive"
        await test.until(test.pins["quiet"].get, "quiet")
        assert test.axi.quiet and not test.done
        if burst * beats + beat:
            test.writes.finish()
        test.stop()


@cocotb.test()
async def halt_stops_for_good(dut):
    """After ``halt``: no new burst, no write, beats in flight are dropped, then quiet. A reset revives it."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    written_before_halt = 0
    for _ in range(25):
        test = Bench(dut, rng, latency=(1, 50), stall=rng.choice([0.0, 0.3]),
                     l1_stall=rng.choice([0.0, 0.4]))
        await test.reset()
        commands = [test.random_command() for _ in range(6)]
        for command in commands:
            test.expect(command)
        sender = cocotb.start_soon(test.start.send_all([command.encode() for command in commands]))
        for _ in range(rng.randrange(300)):
            await RisingEdge(dut.clk)
        test.halt()
        await RisingEdge(dut.clk)
        written_before_halt += test.written
        await test.until(test.pins["quiet"].get, "quiet")
        for _ in range(60):
            await RisingEdge(dut.clk)
        assert test.axi.quiet and test.fault is None
        sender.cancel()
        test.stop()
    assert written_before_halt
    test = Bench(dut, rng)
    await test.reset()
    await test.run([test.random_command() for _ in range(5)])
    test.writes.finish()
    test.stop()
