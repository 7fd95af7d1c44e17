"""Bench of the load engine's GATHER: random lists against a model of their bursts and of the L1 writes."""

import random

import cocotb
import numpy as np
from amla.rtl.isa import MOST_ROWS, Fault
from amla.tb.host.gm import PlannedError, Response
from amla.tb.stream import start_clock
from amla.tb.transfer.load_bench import CONFIG, GM_BYTES, Bench, Gather, bench, ends_in_fault
from cocotb.triggers import ClockCycles, RisingEdge


@cocotb.test()
async def random_lists(dut):
    """Bursts and L1 writes of gathers among loads match the model, for several stall patterns."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for latency, stall, l1_stall, runs in (((1, 1), 0.0, 0.0, 10), ((1, 30), 0.3, 0.0, 10), ((20, 60), 0.5, 0.5, 10),
                                           ((1, 1000), 0.1, 0.1, 4)):
        test = Bench(dut, rng, latency=latency, stall=stall, l1_stall=l1_stall)
        await test.reset()
        for _ in range(runs):
            await test.run([test.random_gather() if rng.random() < 0.7 else test.random_command() for _ in range(12)])
        assert test.axi.quiet and test.pins["quiet"].get() and not test.lists
        test.bursts.finish()
        test.writes.finish()
        test.stop()


@cocotb.test()
async def longest_lists(dut):
    """Lists of as many rows as may be, without a hole and with nothing but holes."""
    test = await bench(dut, latency=(30, 30))
    config = test.config
    rows = min(MOST_ROWS, config.l1_words * config.k * config.n // config.beat_elements)
    common = {"address": test.base, "page_bytes": 1024, "page_size": 1024 // test.size, "rows_padded": rows,
              "cols": config.beat_elements}
    lists = [test.rng.choices(range(1024 // test.size * 64), k=rows), [-1] * rows, [5] * rows]
    await test.run([Gather(entries=np.array(entries), list=test.write_list(entries), **common) for entries in lists])
    test.bursts.finish()
    test.writes.finish()


@cocotb.test(skip=not CONFIG.reads_fp8)
async def lists_stay_out_of_rows(dut):
    """A list that is requested while rows are never comes between the scales of a row and the rest of it."""
    test = await bench(dut, latency=(400, 400))  # rows wait for what may be in flight
    rows = min(16, test.config.l1_words * test.config.k * test.config.n // 512)
    for _ in range(3):
        commands = []
        for _ in range(12):
            entries = np.array([test.rng.randrange(64) for _ in range(rows)])
            commands.append(Gather(address=test.base, page_bytes=64 * 592, page_size=64, entries=entries,
                                   rows_padded=rows, list=test.write_list(entries), cols=512, fp8_584=True))
        for command in commands:  # a list may lie among rows
            test.expect(command)
        for command in commands:
            await test.start.send(command.encode())
            await ClockCycles(dut.clk, test.rng.randrange(rows * 512 // test.config.beat_elements))
        target = len(test.done_after)
        await test.until(lambda target=target: test.done == target, "the end of the lists")
    test.bursts.finish()
    test.writes.finish()


def _stream(test: Bench, rows: int) -> Gather:
    """Random slots of as many rows of FP8 as L1 holds; of 16 bits where there is no FP8."""
    config = test.config
    cols = 576 if config.reads_fp8 else 8 * config.beat_elements
    size = 656 if config.reads_fp8 else 2 * cols
    rows = min(rows, config.l1_words * config.k * config.n // cols // config.n * config.n)
    slots = min((GM_BYTES - 1024) // size, 128)
    entries = np.array([test.rng.randrange(slots) for _ in range(rows)])
    return Gather(address=test.base, page_bytes=64 * size, page_size=64, entries=entries,
                  list=test.write_list(entries), rows_padded=rows, cols=cols, fp8_656=config.reads_fp8)


@cocotb.test(skip=CONFIG.axi_in_flight_bytes < 16384)
async def gathered_rows_stream(dut):
    """Lists one after the other fill L1 at 95 % of a beat a cycle beside a memory of 300 cycles."""
    test = await bench(dut, latency=(300, 300))
    command = _stream(test, 64)
    beats = len(command.entries) * command.cols // test.config.beat_elements
    number = 2 + 8192 // beats
    await test.run([command] * number)
    half = number // 2
    steady = test.done_cycles[-1] - test.done_cycles[-1 - half]
    dut._log.info("%d rows a list: %d beats in %d cycles", len(command.entries), half * beats, steady)
    assert half * beats / steady >= 0.95
    test.writes.finish()


def _bad(test: Bench) -> list[tuple[Fault, int, Gather]]:
    """Gathers that are each at fault in one way: fault, row at which it comes, command."""
    config, size = test.config, test.size
    page = 4 * size
    slots = GM_BYTES // page * 4  # of the cache: all of the window
    good = np.array([1, 2, 0, 3, 5])

    def but(entries=good, **changes) -> Gather:
        values = {"address": test.base, "page_bytes": page, "page_size": 4, "list": test.write_list(entries),
                  "rows_padded": len(entries), "cols": config.beat_elements, **changes}
        return Gather(entries=np.asarray(entries), **values)

    cases = [
        *((Fault.BAD_FIELD, 0, but(**changes)) for changes in (
            {"address": test.base + size // 2}, {"page_bytes": page + size // 2}, {"page_size": 0},
            {"page_size": 1025}, {"list": test.base + size // 2}, {"cols": 0}, {"rows_padded": 0},
            {"cols": config.beat_elements + 1})),
        (Fault.BAD_FIELD, 0, but(entries=[1] * (MOST_ROWS + 1))),
        (Fault.BUFFER_OVERRUN, 0, but(l1=config.l1_words)),
        *((Fault.READ_WINDOW, 0, but(list=address)) for address in (
            test.base - size, test.limit, (1 << 48) - size, test.base + (1 << config.axi_address_bits))),
        *((Fault.READ_WINDOW, row, but(entries=[1] * row + [entry, 2])) for row, entry in (
            (0, slots), (3, slots + 7), (1, (1 << 31) - 1), (2, 1 << 30))),
        (Fault.READ_WINDOW, 2, but(entries=[1, 0, 3, 1], page_size=3)),
        (Fault.READ_WINDOW, 1, but(address=test.base - size, entries=[1, 0, 3])),
        (Fault.READ_WINDOW, 0, but(address=(1 << 48) - size, entries=[1, 0, 3])),
    ]
    if config.reads_fp8:
        wide = {"fp8_656": True, "cols": 576, "page_bytes": 656, "page_size": 1}
        pages = {"fp8_584": True, "cols": 512, "page_bytes": 592, "page_size": 1}
        cases += [
            (Fault.READ_WINDOW, 1, but(**wide, entries=[GM_BYTES // 656 - 1, GM_BYTES // 656])),
            (Fault.READ_WINDOW, 0, but(**wide, entries=[0], address=test.base - 16)),
            # The row ends with the window, its scales lie behind.
            (Fault.READ_WINDOW, 1, but(**pages, entries=[0, 1], address=test.limit - 576 - 592)),
            (Fault.BAD_FIELD, 0, but(**wide | {"cols": 512})),
            (Fault.BAD_FIELD, 0, but(**wide | {"page_bytes": 664})),
            (Fault.BAD_FIELD, 0, but(**wide, address=test.base + 8)),
            (Fault.BAD_FIELD, 0, but(**pages, fp8_656=True)),
        ]
    return cases


@cocotb.test()
async def lists_at_fault(dut):
    """A wrong gather, or entry, is named after what comes before it has been written; nothing after it is."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    number, total = 0, 1
    while number < total:
        test = Bench(dut, rng, latency=(1, 40), stall=0.2, l1_stall=0.2, top=number % 2)
        await test.reset()
        cases = _bad(test)
        total = len(cases)
        fault, row, wrong = cases[number]
        number += 1
        before = [test.random_gather() for _ in range(rng.randrange(4))]
        after = [test.random_gather(), test.random_command()]
        for command in before:
            test.expect(command)
        test.lists += [address | beats << 64 for address, beats in test.model.list_bursts(wrong)]
        if row:
            good = Gather(**{**vars(wrong), "entries": wrong.entries[:row], "rows_padded": row})
            test.bursts.expect(*(address | beats << 64 for address, beats in test.model.bursts(good)))
            test.writes.expect(*test.model.writes(good))
        test.lists += [address | beats << 64 for command in after for address, beats in test.model.list_bursts(command)]
        await ends_in_fault(test, fault, [*before, wrong, *after])
        assert test.fault_row == row, f"fault at row {test.fault_row}, expected at {row}"
        if test.bursts.compared:
            test.bursts.finish()
        if test.written:
            test.writes.finish()
        test.stop()


@cocotb.test()
async def error_responses(dut):
    """RRESP errors of a list, or of a row: the rows before are written, the fault names the row."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for turn in range(30):
        test = Bench(dut, rng, latency=(1, 20), stall=rng.choice([0.0, 0.3]), l1_stall=rng.choice([0.0, 0.4]))
        await test.reset()
        response = rng.choice([Response.SLVERR, Response.DECERR])
        command = test.random_gather()
        rows = [index for index in range(command.rows) if command.row(index) is not None]
        if not rows:
            test.stop()
            continue
        if turn % 2:  # a burst of the list
            address = rng.choice(test.model.list_bursts(command))[0]
            bad = (address - command.list) // 4
        else:  # a row, and those that share the beat with it
            place = test.model.bursts(command.row(rng.choice(rows)))[-1][0]
            touches = [any(address <= place < address + beats * test.size
                           for address, beats in test.model.bursts(command.row(index))) for index in rows]
            bad, address = rows[touches.index(True)], place
        if any(start <= address < start + beats * test.size for start, beats in (
                test.model.bursts(command) if turn % 2 else test.model.list_bursts(command))):
            test.stop()
            continue
        test.memory.read_errors.append(PlannedError(response, addresses=range(address, address + 1)))
        good = Gather(**{**vars(command), "entries": command.entries[:bad], "rows_padded": max(bad, 1)})
        writes = test.model.writes(good) if bad else []
        seen: list[int] = []
        test.writes.observe = seen.append
        test.bursts.observe = lambda burst: None
        await ends_in_fault(test, Fault[f"READ_{response.name}"], [command])
        # Of the row at fault those beats may come that are not made from the one in error.
        assert seen[:len(writes)] == writes and len(seen) < len(writes) + command.cols // test.config.beat_elements
        assert test.fault_row == bad
        test.stop()


@cocotb.test()
async def halt_stops_for_good(dut):
    """After ``halt``: no new burst, no write, then quiet; a reset revives the engine."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for _ in range(20):
        test = Bench(dut, rng, latency=(1, 50), stall=rng.choice([0.0, 0.3]), l1_stall=rng.choice([0.0, 0.4]))
        await test.reset()
        commands = [test.random_gather() for _ in range(6)]
        for command in commands:
            test.expect(command)
        sender = cocotb.start_soon(test.start.send_all([command.encode() for command in commands]))
        for _ in range(rng.randrange(300)):
            await RisingEdge(dut.clk)
        test.halt()
        await test.until(test.pins["quiet"].get, "quiet")
        for _ in range(60):
            await RisingEdge(dut.clk)
        assert test.axi.quiet and test.fault is None
        sender.cancel()
        test.stop()
    test = Bench(dut, rng)
    await test.reset()
    await test.run([test.random_gather() for _ in range(5)])
    test.writes.finish()
    test.stop()
