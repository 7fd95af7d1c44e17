"""What the page on machines says in figures: every published row, the Ascend's sensitivity to each assumption, and what
a die of AMLA cores reaches."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from amla.rtl.config import CoreConfig

from ..compiler.key_cache import KeyCache
from ..report.utilisation import macs_of
from ..workload.workload import Workload
from . import ascend
from .machine import UNLIMITED, AmlaMachine, AscendMachine, GpuMachine, Machine, Route, load_machine
from .prediction import predict

__all__ = ["floor", "port_bound", "study", "workload"]

#: The routes of global memory as fitted on boards at small transfers: pto-isa, arch_config.hpp in its fitted mode, peak
#: and half-saturation: 28.61 GiB/s and 1,107 B; 247.16 and 30,643; 28.19 and 1,755; 41.25 and 29,104, at 1.85 GHz.
BOARD_ROUTES = {
    "gm_l1": Route(bytes_per_cycle=16.6, start=67), "gm_ub": Route(bytes_per_cycle=143.5, start=214),
    "ub_gm": Route(bytes_per_cycle=16.4, start=107), "l0c_gm": Route(bytes_per_cycle=23.9, start=1216)}

#: The shape of the study, and those beside it.
HEADS, TOKENS, BATCH, KEYS = 128, 2, 96, 16384
LENGTHS = (1024, 2048, 4096, 6144, 8192, 12288, 16384)


def workload(*, batch: int = BATCH, keys: int = KEYS, tokens: int = TOKENS, heads: int = HEADS) -> Workload:
    """So many requests of so many keys."""
    return Workload(name=f"{batch}x{keys}", heads=heads, q_tokens=tokens, lengths=(keys,) * batch, inputs="normal")


def study() -> dict[str, Any]:
    """Every figure of the page."""
    machine, h200 = load_machine("ascend910"), load_machine("h200")
    die = load_machine("amla24")
    assert isinstance(machine, AscendMachine) and isinstance(h200, GpuMachine) and isinstance(die, AmlaMachine)
    best, one = predict(workload(), machine), workload(batch=1, keys=4096, tokens=1)
    return {
        "gpus": {name: list(_rows(load_machine(name))) for name in ("h200", "h800")},
        "sustained": list(_sustained(h200)),
        "one": predict(workload(batch=1, keys=4096, tokens=1), h200).parts,
        "ascend": {
            "best": best.as_dict(), "l2_read": machine.l2_read_bytes_per_second, "clock_hz": machine.clock_hz,
            "cores": machine.cores,
            "routes": list(_routes(machine)),
            "lengths": [{"keys": keys, **{f"tokens_{tokens}": _utilisation(machine, keys=keys, tokens=tokens)
                                          for tokens in (1, 2)}} for keys in LENGTHS],
            "shapes": [{"what": what, "utilisation": _utilisation(machine, **shape)} for what, shape in (
                ("batch 24", {"batch": 24}), ("batch 48", {"batch": 48}), ("batch 100", {"batch": 100}),
                ("one request", {"batch": 1}), ("64 heads", {"heads": 64}), ("16 heads", {"heads": 16}),
                ("4 query tokens", {"tokens": 4}))],
            "sensitivity": [{"what": what, "value": value, "utilisation": _utilisation(changed, ahead=ahead)}
                            for what, value, changed, ahead in _variants(machine)],
        },
        "amla": {
            "clock_hz": die.clock_hz, "cores": die.cores,
            "rows": [{"what": what, **predict(load, die).as_dict()} for what, load in _loads()],
            "floors": [floor(one, die, parts) for parts in (1, 2, 4, 8)], "port_bound": port_bound(one, die),
        },
    }


def _loads() -> Iterator[tuple[str, Workload]]:
    for batch, keys in ((1, 4096), (4, 4096), (24, 4096), (30, 4096), (96, 4096), (1, 16384), (24, 16384)):
        yield f"{batch} × {keys:,}", workload(batch=batch, keys=keys, tokens=1)
    yield "1 × 4,096, two query tokens", Workload.load("ds-mtp-4096")


def floor(load: Workload, die: AmlaMachine, row_parts: int) -> dict[str, Any]:
    """Least cycles of a request with its rows in so many ranges, its keys in as many as there are cores for.

    Nothing is stored before all that it depends on has come, and nothing merged before all is stored. A port moves a
    beat a cycle each way, the cube never waits, loads are without a gap: only latencies and bytes remain.

    Returns
    -------
    row_parts, splits: ranges of rows and of keys
    rows, keys:        of the largest share
    cycles:            by what they are spent on
    seconds:           all of them
    """
    config, memory = CoreConfig.load(die.core), die.shared_memory
    beat, rows = config.axi_data_bytes, -(-load.rows // row_parts)
    cut = -(-load.lengths[0] // (die.cores // row_parts * config.k)) * config.k
    near = die.cache_latency if die.cache else memory.latency
    partial = 4 * rows * load.head_dim_v / beat
    cycles = {
        "launch, and all cores wait for each other": die.launch_cycles + 2 * die.sync_cycles,
        "program and first keys on their way": 2 * memory.latency,
        "queries and keys in": (2 * rows * load.head_dim + KeyCache.of(load).key_bytes * cut) / beat,
        "cube, where it takes longer": 0.0,
        "partial results out": partial + near,
        "merge: program, partial results in, result out": memory.latency + near + partial + near,
    }
    cube = rows * cut * (load.head_dim + load.head_dim_v) / config.macs_per_cycle
    cycles["cube, where it takes longer"] = max(cube - cycles["queries and keys in"], 0)
    return {"row_parts": row_parts, "splits": -(-load.lengths[0] // cut), "rows": rows, "keys": cut,
            "cycles": cycles, "seconds": sum(cycles.values()) / die.clock_hz}


def port_bound(load: Workload, die: AmlaMachine) -> float:
    """Least seconds of a request whose products are spread over the cores in any way, by read ports and cubes alone.

    A core with so many pairs of a row and a key reads its keys, its rows, and for each of them the FP32 partial result
    again, to merge it: with the best number of rows ``2 sqrt(row key pairs)`` cycles, of ``row`` and ``key`` cycles
    each. Its cube leaves it at most ``time / cube`` pairs. The root is concave, so that all ports together move least
    where some cores have so many and the others none: ``time cores >= 2 sqrt(row key cube / time) pairs``.
    No latency, launch or synchronisation is in it, and no row may have all its keys on one core.
    """
    config = CoreConfig.load(die.core)
    pairs, beat = load.rows * load.lengths[0], config.axi_data_bytes
    row, key = (2 * load.head_dim + 4 * load.head_dim_v) / beat, KeyCache.of(load).key_bytes / beat
    cube = (load.head_dim + load.head_dim_v) / config.macs_per_cycle
    ports = (2 * math.sqrt(row * key * cube) * pairs / die.cores) ** (2 / 3)
    return max(ports, cube * pairs / die.cores) / die.clock_hz


def _rows(machine: Machine) -> Iterator[dict[str, Any]]:
    """Each published figure of a machine beside its prediction."""
    for one in machine.published:
        load = Workload(name="published", heads=one.heads, q_tokens=one.q_tokens, lengths=one.lengths or (),
                        inputs="normal")
        found = next(other for other in predict(load, machine).published
                     if (other.what, other.seconds) == (one.what, one.seconds(2 * macs_of(load))))
        yield {"batch": len(load.lengths), "q_tokens": one.q_tokens, "heads": one.heads,
               "keys": [min(load.lengths), max(load.lengths)], "flops": 2 * macs_of(load), **vars(found),
               "ratio": found.ratio}


def _sustained(machine: GpuMachine) -> Iterator[dict[str, Any]]:
    """FlashMLA for a second on the H200, bound by power, at the clocks that were read then."""
    for keys, tokens, clock, tflops in ((8192, 1, 1.485e9, 560.0), (32768, 2, 1.590e9, 631.0)):
        found = predict(workload(batch=128, keys=keys, tokens=tokens), replace(machine, clock_hz=clock))
        yield {"keys": keys, "q_tokens": tokens, "clock_hz": clock, "tflops": tflops,
               "predicted": found.flops / found.seconds / 1e12}


def _utilisation(machine: AscendMachine, *, ahead: int = 1, **shape: int) -> float:
    load = workload(**shape)
    return 2 * macs_of(load) / ascend.estimate(load, machine, ahead=ahead).seconds / machine.peak_flops


def _routes(machine: AscendMachine) -> Iterator[dict[str, Any]]:
    """Bytes and cycles of each pipe for a tile of 256 rows and 512 keys, neither the first nor the last."""
    tile = ascend.Tile(256, 512, False, False)
    one, two = (ascend.program(machine, [replace(tile, first=at == 0) for at in range(count)]) for count in (2, 3))
    for pipe in one.pipes:
        yield {"pipe": pipe, "cycles": two.busy(pipe) - one.busy(pipe), "bytes": two.moved(pipe) - one.moved(pipe)}


def _variants(machine: AscendMachine) -> Iterator[tuple[str, str, AscendMachine, int]]:
    def changed(what: str, value: str, **values: Any) -> tuple[str, str, AscendMachine, int]:
        return what, value, replace(machine, **values), 1

    yield changed("as used", "")
    yield changed("L2 gives", "3.79 TB/s: the product of 6,144", l2_read_bytes_per_second=3.79e12)
    yield changed("", "4.88 TB/s: 110 B/cycle a core, Ascend910B1.ini", l2_read_bytes_per_second=4.88e12)
    yield changed("", "3.07 TB/s: 10 % less", l2_read_bytes_per_second=0.9 * machine.l2_read_bytes_per_second)
    yield changed("L2 takes", "without limit", l2_write_bytes_per_second=UNLIMITED)
    yield changed("routes of global memory", "as fitted on boards, small transfers", **BOARD_ROUTES)
    yield changed("", "of these, memory to L1 alone", gm_l1=BOARD_ROUTES["gm_l1"])
    yield changed("", "of these, L0C to memory alone", l0c_gm=BOARD_ROUTES["l0c_gm"])
    yield changed("", "without limit", **dict.fromkeys(BOARD_ROUTES, Route(bytes_per_cycle=1e9)))
    yield changed("hand-shakes of a tile", "220 cycles: traces", sync_cycles=220)
    yield changed("", "none", sync_cycles=0)
    yield changed("", "220 cycles, and L2 gives 4.88 TB/s", sync_cycles=220, l2_read_bytes_per_second=4.88e12)
    yield changed("dispatch of a core", "none: all start together, and stay so", dispatch_cycles=0)
    yield changed("", "100 cycles", dispatch_cycles=100)
    yield changed("launch", "none", launch_cycles=0, bubble_cycles=0)
    yield changed("start of a matrix instruction", "none", mad_start=0)
    yield changed("vector operations", "1.5 times as long", vector={
        name: (1.5 * start, 1.5 * each) for name, (start, each) in machine.vector.items()})
    yield changed("HBM", "its whole rate", memory_share=1)
    yield changed("", "half of that reached", memory_share=machine.memory_share / 2)
    yield "C1 ahead of C2", "none: cube and vector cores in turns", machine, 0
    yield "", "two tiles", machine, 2
