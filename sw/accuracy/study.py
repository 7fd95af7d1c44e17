"""Accuracy study: error of the golden model's modes against float64, over input distributions and lengths.

``python -m amla.sw.accuracy`` runs the cases and writes JSON, Markdown and plots; `docs/accuracy.md` tells how to
read them. A case is one distribution at one length with one seed; every variant sees the same inputs, so that
their errors are compared pair by pair.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from amla.model import Numerics, error_metrics, mla_reference
from amla.model.checks import as_index
from amla.rtl.files import check_folder
from ml_dtypes import bfloat16

from ..errors import AmlaError
from ..workload.distributions import DISTRIBUTIONS, Shape, draw
from .lockstep import Variant, attend_all
from .recorded import compare_recorded, relative_error

__all__ = [
    "BASELINE", "BIN_EDGES", "LIMIT", "SEEDS", "TABLE_ROWS", "VARIANTS", "Study", "element_histogram", "geometric_mean",
    "join", "judge", "main", "run_study", "summarize",
]

_COMP_BITS = range(4)

#: Seeds per length. A run over 65,536 keys costs 32 times one over 2,048, and the spread falls with length.
SEEDS = {2048: 5, 16384: 3, 65536: 2}

#: What every error is compared with: plain FlashAttention, its P in BF16.
BASELINE = "mul, BF16 P"

#: Rows of the table in docs/numerics.md, "Accuracy", in each of which the goal of `amla` is stated.
TABLE_ROWS = (("normal-1", 2048), ("normal-1", 16384), ("normal-4", 16384), ("normal-10", 16384),
              ("uniform-1", 16384), ("uniform-10", 16384))

#: Largest error of `amla` over that of the baseline, before the output is rounded.
LIMIT = 0.35

#: Largest error of `amla`, its output rounded, over that of any number of index bits: what is not measurable.
BITS_LIMIT = 1.01

#: Largest error of `amla` over that of rounding the output alone, on the inputs of the recorded GPU.
ROUNDING_LIMIT = 1.015

#: Edges of the histogram's bins: |error| of an element over the RMS of its reference row, ten bins a decade.
BIN_EDGES = 10.0 ** np.linspace(-9, 1, 101)


def _variants() -> dict[str, Variant]:
    default = Numerics()
    as_is = {"comp_bits": default.comp_bits, "p_format": default.p_format}
    return {
        **{f"{mode}, BF16 P": Variant(**as_is | {"mode": mode, "p_format": "operand"}) for mode in ("mul", "amla")},
        **{mode: Variant(**as_is | {"mode": mode}) for mode in ("mul", "amla", "paper", "pow2", "log")},
        **{f"amla k={bits}": Variant(**as_is | {"mode": "amla", "comp_bits": bits}) for bits in _COMP_BITS
           if bits != default.comp_bits},
    }


#: What is compared, by name: the baseline and `amla` with P in BF16, every mode of the model as it is by default
#: (`paper` has its P in BF16), then `amla` with every other number of index bits.
VARIANTS = _variants()


@dataclass(frozen=True, kw_only=True)
class Study:
    """What to run: the cross product of distributions, lengths and seeds.

    Attributes
    ----------
    distributions: keys of :data:`~amla.sw.workload.distributions.DISTRIBUTIONS`
    seeds:         number of seeds by length (keys)
    shape:         shape of each case

    Raises
    ------
    AmlaError: a value breaks its rule.
    """

    distributions: tuple[str, ...]
    seeds: Mapping[int, int]
    shape: Shape = field(default_factory=Shape)

    def __post_init__(self) -> None:
        for key in self.distributions:
            if key not in DISTRIBUTIONS:
                raise AmlaError(f"distribution must be one of {', '.join(DISTRIBUTIONS)}, not {key!r}")
        if not self.distributions or not self.seeds:
            raise AmlaError("a study must have at least one distribution and one length, not none")
        for length, count in self.seeds.items():
            for name, value in (("keys", length), ("seeds", count)):
                if (as_index(value) or 0) < 1:
                    raise AmlaError(f"{name} must be a positive integer, not {value!r}")
        object.__setattr__(self, "seeds", {as_index(length): as_index(count) for length, count in self.seeds.items()})

    def cases(self) -> list[tuple[str, int, int]]:
        """(distribution, keys, seed), the short ones first."""
        return [(key, length, seed) for length in sorted(self.seeds) for key in self.distributions
                for seed in range(self.seeds[length])]


def run_study(study: Study, progress: Callable[[str], None]) -> dict[str, Any]:
    """Run every case; returns the content of accuracy.json (see docs/accuracy.md).

    ``progress`` is called with one line after each case.
    """
    began = time.perf_counter()
    cases = study.cases()
    found: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for number, (key, length, seed) in enumerate(cases, 1):
        case_began = time.perf_counter()
        for name, result in _run_case(key, length, seed, study.shape).items():
            found.setdefault((key, length, name), []).append(result)
        errors = ";  ".join(f"{name}: {found[key, length, name][-1]['error']:.2e}"
                            for name in (BASELINE, "mul", "amla"))
        progress(f"[{number}/{len(cases)}] {DISTRIBUTIONS[key].title}, {length:,} keys, seed {seed}: {errors}  "
                 f"({time.perf_counter() - case_began:.1f} s)")
    results, recorded = summarize(found), compare_recorded()
    numerics = Numerics(kv_block=study.shape.kv_block)
    return {
        "shape": {"rows": study.shape.rows, "head_dim": study.shape.head_dim, "head_dim_v": study.shape.head_dim_v,
                  "kv_block": numerics.kv_block, "softmax_scale": study.shape.scale, "k": numerics.k,
                  "acc_frac_bits": numerics.acc_frac_bits},
        "seeds": {str(length): count for length, count in study.seeds.items()},
        "distributions": {key: {"title": DISTRIBUTIONS[key].title, "purpose": DISTRIBUTIONS[key].purpose}
                          for key in study.distributions},
        "variants": {name: asdict(variant) for name, variant in VARIANTS.items()},
        "bin_edges": BIN_EDGES.tolist(),
        "results": results,
        "recorded": recorded,
        "goal": judge(results, recorded),
        "seconds": time.perf_counter() - began,
    }


def _run_case(key: str, length: int, seed: int, shape: Shape) -> dict[str, dict[str, Any]]:
    """Error, largest errors and histogram of every variant on one case."""
    q, keys = draw(key, shape, length, seed)
    one_page = {"q": q[None, None], "kv_cache": keys[None], "block_table": np.zeros((1, 1), np.int32),
                "cache_seqlens": np.array([length], np.int32)}
    reference = mla_reference(**one_page, head_dim_v=shape.head_dim_v, softmax_scale=shape.scale)
    ref_out, ref_lse = reference[0][0, 0], reference[1][0, :, 0]
    found = attend_all(q.view(np.uint16), keys.view(np.uint16), VARIANTS, head_dim_v=shape.head_dim_v,
                       scale=shape.scale, numerics=Numerics(kv_block=shape.kv_block))
    results, rounding = {}, relative_error(ref_out.astype(np.float32).astype(bfloat16), ref_out)
    for name, (out, lse) in found.items():
        values = out.view(np.float32)
        metrics = error_metrics(values, lse.view(np.float32), ref_out, ref_lse)
        results[name] = {
            "error": metrics["relative_frobenius"], "max_abs": metrics["max_abs"],
            "lse_max_abs": metrics["lse_max_abs"], "rounded": relative_error(values.astype(bfloat16), ref_out),
            "rounding": rounding, "histogram": element_histogram(values, ref_out),
        }
    return results


def element_histogram(out: np.ndarray, ref_out: np.ndarray) -> np.ndarray:
    """Elements per bin of BIN_EDGES, by |out - ref_out| over the RMS of the reference's row; int64[100].

    Errors outside the edges count in the outermost bins; so does NaN, in the last one.
    """
    rms = np.sqrt(np.mean(np.square(ref_out), axis=1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.abs(out.astype(np.float64) - ref_out) / rms
    error = np.nan_to_num(error, nan=BIN_EDGES[-1], posinf=BIN_EDGES[-1])
    return np.histogram(np.clip(error, BIN_EDGES[0], BIN_EDGES[-1]), BIN_EDGES)[0]


def geometric_mean(values: Iterable[float]) -> float | None:
    """Geometric mean of positive finite values; None if there is none, or one of another kind."""
    array = np.array(list(values), np.float64)
    if not array.size or not np.isfinite(array).all() or (array <= 0).any():
        return None
    return float(np.exp(np.log(array).mean()))


def summarize(found: Mapping[tuple[str, int, str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One entry per distribution, length and variant, over its seeds.

    Each has ``errors`` by seed, their ``mean`` and sample standard deviation ``spread`` (None for one seed),
    ``ratio``, the geometric mean over the seeds of the error over that of the baseline on the same inputs, the mean
    error ``rounded`` of the output in BF16, that of ``rounding`` float64's alone, ``max_abs`` and ``lse_max_abs`` over
    the seeds, and the ``histogram`` summed over them. What is not a finite number is None.
    """
    entries = []
    for (key, length, name), results in found.items():
        errors = np.array([result["error"] for result in results], np.float64)
        baseline = np.array([result["error"] for result in found[key, length, BASELINE]], np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = errors / baseline
            spread = errors.std(ddof=1) if len(errors) > 1 else np.nan
            entries.append({
                "distribution": key, "keys": length, "variant": name,
                "errors": [_finite(error) for error in errors], "mean": _finite(errors.mean()),
                "spread": _finite(spread), "ratio": geometric_mean(ratios),
                **{key: _finite(np.mean([result[key] for result in results])) for key in ("rounded", "rounding")},
                "max_abs": _finite(max(result["max_abs"] for result in results)),
                "lse_max_abs": _finite(max(result["lse_max_abs"] for result in results)),
                "histogram": np.sum([result["histogram"] for result in results], axis=0).tolist(),
            })
    return entries


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def join(studies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One study of several that differ in their lengths alone, with the goal judged over all of them.

    Raises
    ------
    AmlaError: the studies differ in something else, or share a length.
    """
    first = studies[0]
    for study in studies[1:]:
        for key in ("shape", "distributions", "variants", "bin_edges", "recorded"):
            if study[key] != first[key]:
                raise AmlaError(f"studies to join must agree in {key}, not {first[key]!r} and {study[key]!r}")
    lengths = [length for study in studies for length in study["seeds"]]
    if len({*lengths}) < len(lengths):
        raise AmlaError(f"studies to join must have different lengths, not {', '.join(lengths)}")
    results, recorded = [entry for study in studies for entry in study["results"]], first["recorded"]
    return {
        **first, "seeds": {length: count for study in studies for length, count in study["seeds"].items()},
        "results": results, "goal": judge(results, recorded), "seconds": sum(study["seconds"] for study in studies),
    }


def judge(results: Iterable[Mapping[str, Any]], recorded: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The goal of `amla`, over the rows of TABLE_ROWS that were measured and the cases that a GPU computed.

    Returns
    -------
    rows:         the measured ones, as [distribution, keys]
    ratio:        the largest `amla` / baseline of a row; None without rows, or where one is no number
    limit:        LIMIT
    not_better:   rows in which `amla` is not better than `paper`; None where `paper` was not measured
    bits:         the largest error of `amla`, its output rounded, over the best of all numbers of index bits
    bits_limit:   BITS_LIMIT
    behind:       recorded cases in which `amla` errs more than FlashMLA, or than ROUNDING_LIMIT times the rounding
    met:          whether all parts hold; None without rows
    """
    table = {(entry["distribution"], entry["keys"], entry["variant"]): entry for entry in results}
    rows = [row for row in TABLE_ROWS if (*row, "amla") in table]
    ratios = [table[(*row, "amla")]["ratio"] for row in rows]
    ratio = None if not ratios or None in ratios else max(ratios)
    not_better = None
    if all((*row, "paper") in table for row in rows):
        not_better = [list(row) for row in rows if not _better(table[(*row, "amla")], table[(*row, "paper")])]
    bits = None
    if ratio is not None:
        by_bits = [name for name in VARIANTS if name.startswith("amla k=")]
        bits = max(table[(*row, "amla")]["rounded"] / min(table[(*row, name)]["rounded"] for name in ("amla", *by_bits))
                   for row in rows)
    behind = [entry["case"] for entry in recorded
              if entry["amla"] > min(entry["flashmla"], ROUNDING_LIMIT * entry["rounding"])]
    met = None
    if rows:
        met = (ratio is not None and ratio <= LIMIT and bits is not None and bits <= BITS_LIMIT
               and not not_better and not behind)
    return {"rows": [list(row) for row in rows], "ratio": ratio, "limit": LIMIT, "not_better": not_better,
            "bits": bits, "bits_limit": BITS_LIMIT, "behind": behind, "rounding_limit": ROUNDING_LIMIT, "met": met}


def _better(entry: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """A result that is no number is worse than any."""
    mean, other_mean = entry["mean"], other["mean"]
    return mean is not None and (other_mean is None or mean < other_mean)


def main(arguments: list[str] | None = None) -> int:
    """Run the study from the command line; returns 0, 1 when the goal is missed. Raises AmlaError for bad arguments."""
    from .report import load, write

    parser = argparse.ArgumentParser(prog="python -m amla.sw.accuracy", description="Error of every mode of the golden "
                                     "model against float64: JSON, Markdown and plots.")
    parser.add_argument("--quick", action="store_true", help="2,048 keys and one seed: seconds")
    parser.add_argument("--keys", type=int, nargs="+", metavar="N", default=[*SEEDS], help="lengths to run")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds at every length (default: by length)")
    parser.add_argument("--distributions", nargs="+", metavar="NAME", default=[*DISTRIBUTIONS],
                        help=f"of {', '.join(DISTRIBUTIONS)}")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("build/accuracy"),
                        help="folder of accuracy.json, results.md and the plots")
    parser.add_argument("--docs", type=Path, metavar="DIR", nargs="?", const=Path("docs/accuracy"),
                        help="write the page and the plots into this folder too (docs/accuracy)")
    parser.add_argument("--from-json", type=Path, nargs="+", metavar="FILE",
                        help="report earlier runs, of other lengths each; measure nothing")
    options = parser.parse_args(arguments)
    check_folder(options.out)
    if options.from_json:
        study = join([load(path) for path in options.from_json])
    else:
        seeds = {2048: 1} if options.quick else {
            length: SEEDS.get(length, 1) if options.seeds is None else options.seeds
            for length in options.keys}
        study = run_study(Study(distributions=tuple(dict.fromkeys(options.distributions)), seeds=seeds), _say)
    files = write(study, options.out, docs=options.docs)
    goal = study["goal"]
    _say(f"{', '.join(map(str, files))}\nafter {study['seconds']:.0f} s; goal: "
         f"{ {True: 'met', False: 'missed', None: 'not measured'}[goal['met']] }, amla / ({BASELINE}) at "
         f"most {goal['ratio']}")
    return 1 if goal["met"] is False else 0


def _say(line: str) -> None:
    print(line, flush=True)
