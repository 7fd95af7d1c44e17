"""Programs at fault, each with the fault that the core must report."""

from collections.abc import Callable, Iterator

from amla.rtl.config import CoreConfig
from amla.rtl.isa import COMMAND_BYTES, HALFWORDS, INDEX_BITS, SEMAPHORE_MAX, Engine, Fault, Opcode, Semaphore
from amla.sw.compiler.program import Command

from ..host.gm import PlannedError, Response
from .driver import CoreBench, Error
from .fault_case import (
    DATA,
    FENCE,
    HALT,
    OUTPUT,
    PROGRAM,
    READ_WINDOW,
    UNMAPPED_READ,
    UNMAPPED_WRITE,
    WRITE_WINDOW,
    FaultCase,
    load,
    one,
    store,
    wide,
)
from .load_faults import load_faults

__all__ = ["fault_cases"]


def fault_cases(config: CoreConfig) -> Iterator[FaultCase]:
    """All cases for a core."""
    yield from _program_faults()
    yield from _semaphore_faults()
    yield from _window_faults(config)
    yield from _bus_faults(config)
    yield from _field_faults(config)
    yield from _overruns(config)
    yield from load_faults(config)


def _program_faults() -> Iterator[FaultCase]:
    sequencer = Engine.SEQUENCER
    for opcode in (0x00, 0x03, 0x12, 0x22, 0x7F, 0xFF):
        yield FaultCase(name=f"opcode {opcode:#04x}", commands=[FENCE, FENCE, opcode, HALT],
                        error=Error(Fault.UNKNOWN_OPCODE, sequencer, 2))
    yield FaultCase(name="unknown opcode while loads run", commands=[*[load()] * 5, 0xAB, HALT],
                    error=Error(Fault.UNKNOWN_OPCODE, sequencer, 5))
    for count in (1, 3, 4, 9):
        yield FaultCase(name=f"{count} commands without HALT", commands=[FENCE] * count,
                        error=Error(Fault.TRUNCATED_PROGRAM, sequencer, count))
    for halfwords in (0, 1, 2, HALFWORDS - 1):
        yield FaultCase(name=f"HALT {halfwords} halfwords past PROGRAM_LENGTH", commands=[FENCE, FENCE, HALT],
                        registers={"PROGRAM_LENGTH": 2 * HALFWORDS + halfwords},
                        error=Error(Fault.TRUNCATED_PROGRAM, sequencer, 2))
    yield FaultCase(name="no commands", commands=[HALT], registers={"PROGRAM_LENGTH": 0},
                    error=Error(Fault.TRUNCATED_PROGRAM, sequencer, 0))
    for name, base in (("below", PROGRAM - 0x1000), ("past", READ_WINDOW[1])):
        yield FaultCase(name=f"program {name} the read window", commands=[HALT],
                        registers={"PROGRAM_BASE_LO": base}, error=Error(Fault.READ_WINDOW, sequencer, 0))
    yield FaultCase(name="program base not a multiple of the beat", commands=[HALT],
                    registers={"PROGRAM_BASE_LO": PROGRAM + 8}, error=Error(Fault.BAD_FIELD, sequencer, 0))
    yield FaultCase(name="a length past the largest index", commands=[FENCE] * 6,
                    registers={"PROGRAM_LENGTH": 1 << INDEX_BITS, "READ_LIMIT_LO": PROGRAM + 4 * COMMAND_BYTES},
                    error=Error(Fault.READ_WINDOW, sequencer, 4))


def _semaphore_faults() -> Iterator[FaultCase]:
    kv_ready, kv_free = Semaphore.KV_READY, Semaphore.KV_FREE
    signal = Command.build(Opcode.FENCE, signal=[kv_ready])
    wait = Command.build(Opcode.FENCE, wait=[kv_ready])
    for name, command in (("FENCE", signal), ("LOAD", load(signal=[kv_ready]))):
        yield FaultCase(
            name=f"semaphore overflow by {name}",
            commands=[*[command] * (SEMAPHORE_MAX + 1), HALT],
            error=Error(Fault.SEMAPHORE_OVERFLOW, command.engine, SEMAPHORE_MAX),
        )
    yield FaultCase(name="FENCE waits for ever", commands=[signal, wait, FENCE, wait, HALT],
                    error=Error(Fault.WATCHDOG, Engine.SEQUENCER, 3))
    yield FaultCase(name="LOAD waits for ever", commands=[load(), load(wait=[kv_free]), HALT],
                    error=Error(Fault.WATCHDOG, Engine.LOAD, 1))
    yield FaultCase(
        name="two engines wait for each other",
        simulated=False,
        commands=[load(wait=[kv_free], signal=[kv_ready]), store(wait=[kv_ready], signal=[kv_free]), HALT],
        error=Error(Fault.WATCHDOG, Engine.LOAD, 0),
    )


def _window_faults(config: CoreConfig) -> Iterator[FaultCase]:
    alias = 1 << config.axi_address_bits  # must not wrap into the window
    for name, operands in {
        "below": {"address": READ_WINDOW[0] - 16}, "past": {"address": READ_WINDOW[1] - 16},
        "at zero": {"address": 0}, "beyond the address bits": {"address": DATA + alias},
        "by its last row": {"pitch": (READ_WINDOW[1] - DATA) // 2, "rows": 3},
        "by a huge pitch": {"pitch": 0xFFFFFF00, "rows": 4},
    }.items():
        yield one(f"LOAD {name}", load(**operands), Fault.READ_WINDOW)
    for name, operands in {
        "below": {"address": WRITE_WINDOW[0] - 16}, "past": {"address": WRITE_WINDOW[1] - 16},
        "at zero": {"address": 0}, "to the inputs": {"address": DATA},
        "beyond the address bits": {"address": OUTPUT + alias},
        "by its last row": {"pitch": (WRITE_WINDOW[1] - OUTPUT) // 2, "rows": 3},
        "by a huge pitch": {"pitch": 0xFFFFFF00, "rows": 3},
    }.items():
        yield one(f"STORE {name}", store(**operands), Fault.WRITE_WINDOW)
    yield one("STORE of LSE past", store(address=WRITE_WINDOW[1] - 16, rows=5, lse=True), Fault.WRITE_WINDOW)
    yield from _beyond_the_address_space(config)


def _beyond_the_address_space(config: CoreConfig) -> Iterator[FaultCase]:
    """Addresses and windows past the address bits: no bit of a register is forgotten."""
    space = 1 << config.axi_address_bits

    def window(kind: str, base: int, limit: int) -> dict[str, int]:
        return wide(f"{kind}_BASE", base) | wide(f"{kind}_LIMIT", limit)

    everything, moved = (0, (1 << 64) - 1), (space + READ_WINDOW[0], space + READ_WINDOW[1])
    for name, registers in {
        "base": wide("PROGRAM_BASE", space + PROGRAM),
        "base in the window's top": wide("PROGRAM_BASE", (1 << 63) + PROGRAM) | window("READ", *everything),
        "window": window("READ", *moved),
        "base and window": wide("PROGRAM_BASE", space + PROGRAM) | window("READ", *moved),
        "window's base": wide("READ_BASE", space),
    }.items():
        yield FaultCase(name=f"program {name} beyond the address space", commands=[HALT], registers=registers,
                        error=Error(Fault.READ_WINDOW, Engine.SEQUENCER, 0))
    for name, command in {"beyond": load(address=space + DATA), "across": load(address=space - 512)}.items():
        yield one(f"LOAD {name} the end of the address space", command, Fault.READ_WINDOW,
                   registers=window("READ", *everything))
    moved = (space + WRITE_WINDOW[0], space + WRITE_WINDOW[1])
    for name, command, limits in (
        ("beyond", store(address=space + OUTPUT), everything), ("across", store(address=space - 512), everything),
        ("whose window is beyond", store(), moved), ("and its window beyond", store(address=space + OUTPUT), moved),
    ):
        yield one(f"STORE {name} the end of the address space", command, Fault.WRITE_WINDOW,
                   registers=window("WRITE", *limits))


def _bus_faults(config: CoreConfig) -> Iterator[FaultCase]:
    beats = COMMAND_BYTES / config.axi_data_bytes
    for response, read, write in ((Response.SLVERR, Fault.READ_SLVERR, Fault.WRITE_SLVERR),
                                  (Response.DECERR, Fault.READ_DECERR, Fault.WRITE_DECERR)):
        def plan(kind: str, response=response, **options) -> Callable[[CoreBench], None]:
            return lambda bench: getattr(bench.memory, kind).append(PlannedError(response, **options))

        def at(address: int, size: int = 1) -> range:
            return range(address, address + size)

        name = response.name
        yield FaultCase(name=f"{name} on the first command", commands=[FENCE] * 9 + [HALT], simulated=False,
                        prepare=plan("read_errors", addresses=at(PROGRAM), beat=0),
                        error=Error(read, Engine.SEQUENCER, 0))
        burst_of_6 = range(PROGRAM + 6 * COMMAND_BYTES, PROGRAM + 6 * COMMAND_BYTES + 1)
        first = 6 * COMMAND_BYTES // (8 * config.axi_data_bytes) * 8  # first beat of the burst with command 6
        yield FaultCase(name=f"{name} on command 6", commands=[FENCE] * 9 + [HALT], simulated=False,
                        prepare=plan("read_errors", addresses=burst_of_6, beat=int(6 * beats) - first),
                        error=Error(read, Engine.SEQUENCER, int(int(6 * beats) / beats)))
        for beat in (0, -1, None):
            yield one(f"{name} on beat {beat} of LOAD", load(), read, row=1, simulated=False,
                       prepare=plan("read_errors", addresses=at(DATA + 256), beat=beat))
        yield FaultCase(name=f"{name} on the second of three LOADs", simulated=False,
                        commands=[load(), load(address=DATA + 0x1000), load(address=DATA + 0x2000), HALT],
                        prepare=plan("read_errors", addresses=at(DATA + 0x1000, 0x400), beat=-1),
                        error=Error(read, Engine.LOAD, 1))
        yield one(f"{name} on STORE", store(), write, simulated=False, prepare=plan("write_errors"))
        yield one(f"{name} on the last row of STORE", store(), write, simulated=False,
                   prepare=plan("write_errors", addresses=at(OUTPUT + 256 + 512)))
        yield one(
            f"{name} on STORE of LSE", store(lse=True), write, simulated=False, prepare=plan("write_errors")
        )
    yield one("LOAD from unmapped memory", load(address=UNMAPPED_READ), Fault.READ_DECERR, simulated=False)
    yield one(
        "STORE to unmapped memory", store(address=UNMAPPED_WRITE), Fault.WRITE_DECERR, simulated=False
    )


def _field_faults(config: CoreConfig) -> Iterator[FaultCase]:
    half = config.axi_data_bytes // 2
    for name, command in {
        "address of LOAD": load(address=DATA + half), "pitch of LOAD": load(pitch=256 + half),
        "cols of LOAD": load(cols=config.beat_elements + 1), "no cols of LOAD": load(cols=0),
        "no rows of LOAD": load(rows_padded=0, rows=0),
        "address of STORE": store(address=OUTPUT + half), "pitch of STORE": store(pitch=256 + half),
        "cols of STORE": store(cols=config.beat_elements + 1), "no cols of STORE": store(cols=0),
        "no rows of STORE": store(rows=0), "address of STORE of LSE": store(address=OUTPUT + half, lse=True),
        "no rows of STORE of LSE": store(rows=0, lse=True),
    }.items():
        yield one(f"bad field: {name}", command, Fault.BAD_FIELD)
    if config.l1_banks > 1:
        yield one("bad field: l1 of LOAD", load(l1=1), Fault.BAD_FIELD)
    for opcode, counts in {
        Opcode.FEED_A: ("outer", "inner"), Opcode.FEED_B: ("outer", "inner"), Opcode.MMAD: ("mt", "nt", "kt"),
        Opcode.DRAIN_S: ("mt", "nt"), Opcode.DRAIN_O: ("mt", "nt"), Opcode.SOFTMAX: ("mt", "kt"),
        Opcode.NORMALIZE: ("mt", "nt"), Opcode.MERGE: ("mt", "nt", "splits"),
    }.items():
        for count in counts:
            fields = {name: int(name != count) for name in counts}
            yield one(
                f"bad field: no {count} of {opcode.name}", Command.build(opcode, **fields), Fault.BAD_FIELD
            )


def _overruns(config: CoreConfig) -> Iterator[FaultCase]:
    """A tile that reaches one word past each buffer, by each engine that uses it."""
    state = config.state_words
    feed = {"outer": 2, "inner": 2, "outer_stride": 2, "inner_stride": 1}
    mmad = {"mt": 2, "nt": 2, "kt": 2}
    drain = {"mt": 2, "nt": 2, "s_pitch": 2 * config.n // config.lanes}
    drain_o = {"mt": 2, "nt": 2, "o_pitch": 2 * config.n // config.lanes}
    softmax = {"mt": 2, "kt": 2, "s_pitch": 2 * config.k // config.lanes}
    groups = config.beat_elements // config.lanes
    normalize = {"mt": 2, "nt": 2, "o_pitch": 2 * groups, "out_pitch": 2}
    merge = {"mt": 1, "nt": 1, "splits": 2, "l1_pitch": 1, "split_pitch": 2 * config.l1_banks, "out_pitch": 1}
    store_out = {"rows": config.m + 1, "cols": 2 * config.beat_elements, "out_pitch": 2}
    transposed = config.k // config.n  # words per step of a transposed FEED_B, on either side
    build = Command.build
    yield one(
        "overrun of L1 by LOAD's columns",
        load(l1=config.l1_words - config.l1_banks, rows=1, rows_padded=1, cols=2 * config.beat_elements),
        Fault.BUFFER_OVERRUN,
    )
    yield one(
        "overrun of L1 by LOAD's rows",
        load(l1=config.l1_words - config.l1_banks, rows_padded=config.n + 1, cols=config.beat_elements),
        Fault.BUFFER_OVERRUN,
    )
    for buffer, command in {
        "L1 by FEED_A": build(Opcode.FEED_A, **feed, l1=config.l1_words - 3),
        "L0A by FEED_A": build(Opcode.FEED_A, **feed, l0=config.l0a_words - 3),
        "L1 by FEED_B": build(Opcode.FEED_B, **feed, l1=config.l1_words - 3),
        "L0B by FEED_B": build(Opcode.FEED_B, **feed, l0=config.l0b_words - 3),
        "L1 by FEED_B transposing": build(Opcode.FEED_B, **{**feed, "outer": 1, "inner": 1}, transpose=True,
                                          l1=config.l1_words - transposed + 1, group_stride=1),
        "L0B by FEED_B transposing": build(Opcode.FEED_B, **{**feed, "outer": 1, "inner": 1}, transpose=True,
                                           l0=config.l0b_words - transposed + 1, group_stride=1),
        "L0A by MMAD": build(Opcode.MMAD, **mmad, l0a=config.l0a_words - 3),
        "L0B by MMAD": build(Opcode.MMAD, **mmad, l0b=config.l0b_words - 3),
        "L0C by MMAD": build(Opcode.MMAD, **mmad, l0c=config.l0c_words - 3),
        "L0C by DRAIN_S": build(Opcode.DRAIN_S, **drain, l0c=config.l0c_words - 3, limit=99, first=True),
        "S by DRAIN_S": build(Opcode.DRAIN_S, **drain, s=config.s_words - 3, limit=99, first=True),
        "ROWMAX by DRAIN_S": build(Opcode.DRAIN_S, **drain, rowmax=state - 1, limit=99, first=True),
        "L0C by DRAIN_O": build(Opcode.DRAIN_O, **drain_o, l0c=config.l0c_words - 3),
        "O by DRAIN_O": build(Opcode.DRAIN_O, **drain_o, o=config.o_words - 3),
        "OFFSETS by DRAIN_O": build(Opcode.DRAIN_O, **drain_o, offsets=state - 1),
        "S by SOFTMAX": build(Opcode.SOFTMAX, **softmax, s=config.s_words - 3, limit=99, first=True),
        "ROWMAX by SOFTMAX": build(Opcode.SOFTMAX, **softmax, rowmax=state - 1, limit=99, first=True),
        "STATE by SOFTMAX": build(Opcode.SOFTMAX, **softmax, state=state - 1, limit=99, first=True),
        "OFFSETS by SOFTMAX": build(Opcode.SOFTMAX, **softmax, offsets=state - 1, limit=99, first=True),
        "L1 by SOFTMAX": build(Opcode.SOFTMAX, **softmax, p=config.l1_words - 3, limit=99, first=True),
        "O by NORMALIZE": build(Opcode.NORMALIZE, **normalize, o=config.o_words - 3, first=True),
        "STATE by NORMALIZE": build(Opcode.NORMALIZE, **normalize, state=state - 1, first=True),
        "LSE by NORMALIZE": build(Opcode.NORMALIZE, **normalize, lse=state - 1, first=True),
        "SINK by NORMALIZE": build(Opcode.NORMALIZE, **normalize, sink=state - 1, first=True, sinks=True),
        "OUT by NORMALIZE": build(Opcode.NORMALIZE, **normalize, out=config.out_words - 3, first=True),
        "L1 by MERGE": build(Opcode.MERGE, **merge, l1=config.l1_words - 4 * config.l1_banks + 1, first=True),
        "STATE by MERGE": build(Opcode.MERGE, **merge, state=state - 2, first=True),
        "STATE by MERGE without first": build(Opcode.MERGE, **merge, state=state - 2),
        "SINK by MERGE": build(Opcode.MERGE, **merge, sink=state - 1, first=True),
        "SINK by MERGE with sinks": build(Opcode.MERGE, **merge, sink=state - 2, first=True, sinks=True),
        "LSE by MERGE": build(Opcode.MERGE, **merge, lse=state, first=True),
        "OUT by MERGE": build(Opcode.MERGE, **merge, out=config.out_words),
        "OUT by STORE": store(**store_out, out=config.out_words - 3),
        "LSE by STORE": store(rows=config.m + 1, out=state - 1, lse=True),
    }.items():
        yield one(f"overrun of {buffer}", command, Fault.BUFFER_OVERRUN)
