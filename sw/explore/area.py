"""Area of a core's logic in a cell library, from its units' measured areas; memories are black boxes, told in KiB.

The areas are those of ``docs/price/results.md`` (osu018, 180 nm, no wires, mapped for speed). What a configuration has
of each unit is counted: dot units, lanes. What an engine of ``tiny`` has beside its units grows with its data path.
"""

from amla.rtl.config import CoreConfig

__all__ = ["AREAS", "area_of", "parts_of", "priced_errors"]

#: µm² by the titles of docs/price/results.md.
AREAS = {
    "rescale unit, comp_bits 0": 12_720, "rescale unit, comp_bits 1": 17_955, "rescale unit, comp_bits 2": 18_896,
    "rescale unit, comp_bits 3": 29_214,
    "accumulate lane, amla, comp_bits 0": 94_877, "accumulate lane, mul": 286_096,
    "vector lane, amla": 909_048, "vector lane, amla, P in BF16": 861_185,
    "dot unit, k = 16": 1_082_889, "dot unit, k = 16, P in BF16": 953_364,
    "row update (tiny)": 3_140_797, "row result": 1_210_782, "attention sink of a row": 1_287_456,
    "FP8 rows to BF16 (tiny)": 514_481, "rows by a list (tiny)": 489_932,
    "cube engine (tiny)": 5_348_971, "drain engine (tiny)": 1_406_276, "vector engine (tiny)": 12_540_213,
    "feed engine (tiny)": 233_623, "load engine (tiny)": 1_729_133, "store engine (tiny)": 583_033,
    "sequencer (tiny)": 166_103, "core (tiny)": 22_339_319, "core (small)": 117_519_869,
}

#: The load engine of ``tiny`` before it took FP8 rows and lists (docs/price.md): the one that is in "core (tiny)".
_PLAIN_LOAD = 549_814

#: What ``tiny`` has of each.
_TINY_K, _TINY_DOTS, _TINY_LANES, _TINY_BEAT = 4, 16, 8, 16


def area_of(config: CoreConfig) -> float:
    """Logic of a core, µm²: the sum of :func:`parts_of`."""
    return sum(parts_of(config).values())


def parts_of(config: CoreConfig) -> dict[str, float]:
    """µm² of the parts of a core.

    * Dot units: m n of them; linear in k between the cube of ``tiny`` (k = 4) and the unit of k = 16.
    * Lanes, of drain and vector engine: m lanes of each; what else these engines have in ``tiny`` grows with them.
    * Row update, row result, sink: one each. Sequencer, lists, and what a core has beside its engines: as in ``tiny``.
    * Load, feed and store, and the converter of FP8 rows: with the bytes of a beat.

    FP16 is taken for BF16, and mode ``pow2`` for ``amla``: neither has been measured.
    """
    dots, lanes = config.m * config.n, config.m * config.lanes
    wide, beat = lanes / _TINY_LANES, config.axi_data_bytes / _TINY_BEAT
    p = ", P in BF16" if config.p_format == "operand" else ""
    dot = AREAS["dot unit, k = 16"]
    per_k = (dot - AREAS["cube engine (tiny)"] / _TINY_DOTS) / (16 - _TINY_K)
    per_p = (dot - AREAS[f"dot unit, k = 16{p}"]) / 16
    lane = AREAS["accumulate lane, mul" if config.mode == "mul" else "accumulate lane, amla, comp_bits 0"]
    if config.mode != "mul":
        lane += AREAS[f"rescale unit, comp_bits {config.comp_bits}"] - AREAS["rescale unit, comp_bits 0"]
    rows = AREAS["row update (tiny)"] + AREAS["row result"]
    drain_rest = AREAS["drain engine (tiny)"] - _TINY_LANES * AREAS["accumulate lane, amla, comp_bits 0"]
    vector_rest = AREAS["vector engine (tiny)"] - _TINY_LANES * AREAS["vector lane, amla"] - rows
    converter, lists = AREAS["FP8 rows to BF16 (tiny)"], AREAS["rows by a list (tiny)"]
    engines = sum(AREAS[f"{engine} (tiny)"] for engine in (
        "cube engine", "drain engine", "vector engine", "feed engine", "store engine", "sequencer"))
    return {
        "dot units": dots * (dot + (config.k - 16) * per_k - config.k * per_p),
        "drain": lanes * lane + drain_rest * wide,
        "vector": lanes * AREAS[f"vector lane, amla{p}"] + vector_rest * wide,
        "rows": rows,
        "sinks": AREAS["attention sink of a row"],
        "load": (AREAS["load engine (tiny)"] - converter - lists) * beat,
        "FP8": converter * beat if config.reads_fp8 else 0,
        "lists": lists,
        "feed": AREAS["feed engine (tiny)"] * beat,
        "store": AREAS["store engine (tiny)"] * beat,
        "control": AREAS["sequencer (tiny)"] + AREAS["core (tiny)"] - _PLAIN_LOAD - engines,
    }


def priced_errors() -> dict[str, float]:
    """Relative error beside the cores that were priced whole, by name.

    They were priced before FP8 rows, lists and sinks, whose areas are left out here. The parts are those of ``tiny``,
    so its error says that they add up; ``small`` is what the model has not seen.
    """
    errors = {}
    for name in ("tiny", "small"):
        config = CoreConfig.load(name)
        parts = parts_of(config)
        then = sum(parts[part] for part in ("dot units", "drain", "vector", "rows", "feed", "store", "control"))
        measured = AREAS[f"core ({name})"]
        errors[name] = (then + _PLAIN_LOAD * config.axi_data_bytes / _TINY_BEAT) / measured - 1
    return errors
