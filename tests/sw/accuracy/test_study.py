"""The accuracy study: aggregation, goal, a tiny run, the command."""

import json

import numpy as np
import pytest
from amla.model import MODES, Numerics
from amla.sw.accuracy import plots as accuracy_plots
from amla.sw.accuracy import study as accuracy
from amla.sw.accuracy.lockstep import Variant
from amla.sw.accuracy.recorded import compare_recorded
from amla.sw.accuracy.study import (
    BASELINE,
    BIN_EDGES,
    TABLE_ROWS,
    VARIANTS,
    Study,
    element_histogram,
    geometric_mean,
    join,
    judge,
    main,
    run_study,
    summarize,
)
from amla.sw.errors import AmlaError
from amla.sw.workload.distributions import Shape, draw

SHAPE = Shape(rows=4, head_dim=24, head_dim_v=16, kv_block=32)


def _result(error, histogram=(1, 2)):
    return {"error": error, "rounded": 4 * error, "rounding": 5 * error, "max_abs": 2 * error, "lse_max_abs": 3 * error,
            "histogram": np.array(histogram)}


def _entry(key, length, name, mean, ratio, rounded):
    return {"distribution": key, "keys": length, "variant": name, "mean": mean, "ratio": ratio, "rounded": rounded}


def _table(amla=0.3, paper=1.2, ratio=0.3, rounded=1.0, worst=None):
    """`worst` is the ratio of one row of `amla`."""
    bits = {name: 1.0 for name in VARIANTS if " k=" in name}
    return [_entry(*row, name, mean, mean and (worst if worst and index == 3 else ratio), after)
            for index, row in enumerate(TABLE_ROWS)
            for name, mean, after in ((BASELINE, 1.0, 2.0), ("amla", amla, rounded), ("paper", paper, 2.0),
                                      *((name, 0.3, after) for name, after in bits.items()))]


def _gpu(flashmla=2.0, amla=1.5, rounding=1.49):
    return [{"case": "ragged", "flashmla": flashmla, "amla": amla, "rounding": rounding}]


def _tiny(lengths=(64,), keys=("normal-4", "zero-columns")):
    return run_study(Study(distributions=keys, seeds=dict.fromkeys(lengths, 2), shape=SHAPE), lambda line: None)


def test_variants_are_the_modes_both_formats_of_p_and_every_number_of_index_bits():
    assert {name for name, variant in VARIANTS.items() if name == variant.mode} == set(MODES)
    own = [variant for variant in VARIANTS.values() if variant.mode == "amla" and variant.p_format == "u6.10"]
    assert sorted(variant.comp_bits for variant in own) == [0, 1, 2, 3]
    default = Numerics()
    assert VARIANTS["amla"] == Variant(mode="amla", comp_bits=default.comp_bits, p_format=default.p_format)
    assert VARIANTS[BASELINE] == Variant(mode="mul", comp_bits=default.comp_bits, p_format="operand")
    assert next(iter(VARIANTS)) == BASELINE


def test_geometric_mean():
    assert geometric_mean([2, 8]) == pytest.approx(4)
    assert geometric_mean([1.5]) == pytest.approx(1.5)
    for values in ([], [1, 0], [1, np.nan], [np.inf]):
        assert geometric_mean(values) is None


def test_summary_over_the_seeds():
    found = {("a", 8, BASELINE): [_result(1.0), _result(4.0)], ("a", 8, "amla"): [_result(2.0, (5, 6)), _result(2.0)]}
    mul, amla = summarize(found)
    assert mul["errors"] == [1, 4] and mul["mean"] == 2.5 and mul["spread"] == pytest.approx(4.5**0.5)
    assert mul["ratio"] == pytest.approx(1) and mul["max_abs"] == 8 and mul["lse_max_abs"] == 12
    assert mul["rounded"] == 10 and mul["rounding"] == 12.5
    # Pair by pair: 2 / 1 and 2 / 4, not the quotient of the means.
    assert amla["ratio"] == pytest.approx(1) and amla["spread"] == 0 and amla["histogram"] == [6, 8]


def test_summary_of_what_is_no_number():
    found = {("a", 8, BASELINE): [_result(1.0)], ("a", 8, "paper"): [_result(np.nan)]}
    mul, paper = summarize(found)
    assert mul["spread"] is None
    assert [paper[key] for key in ("mean", "spread", "ratio", "max_abs")] == [None] * 4 and paper["errors"] == [None]
    json.dumps([mul, paper], allow_nan=False)


def test_histogram_bins_every_element():
    reference = np.full((1, 7), 2.0)
    error = np.array([0, 1e-12, 3e-5, 3e-5, 0.5, 1e6, np.nan])
    counts = element_histogram((reference + 2 * error), reference)
    assert counts.sum() == 7 and counts[0] == 2 and counts[-1] == 2
    found = {round(float(BIN_EDGES[bin]), 8): counts[bin] for bin in np.flatnonzero(counts)[1:-1]}
    assert sorted(found.values()) == [1, 2]
    assert all(low <= value < low * 10**0.1 for low, value in zip(sorted(found), (3e-5, 0.5), strict=True))


def test_goal():
    met = judge(_table(), _gpu())
    assert met["met"] and met["ratio"] == pytest.approx(0.3) and met["not_better"] == [] and len(met["rows"]) == 6
    assert met["bits"] == 1 and met["behind"] == []
    assert judge(_table(worst=0.351), _gpu())["met"] is False, "every row counts, not their mean"
    worse = judge(_table(amla=1.2), _gpu())
    assert worse["met"] is False and worse["not_better"] == [list(row) for row in TABLE_ROWS]
    assert judge(_table(paper=None), _gpu())["met"], "a result that is no number is the worst"
    assert judge(_table(amla=None), _gpu())["met"] is False
    assert judge([], _gpu())["met"] is None
    alone = judge([entry for entry in _table() if entry["variant"] != "paper"], _gpu())
    assert alone["not_better"] is None and alone["met"]
    too_few = judge(_table(rounded=1.011), _gpu())
    assert too_few["met"] is False and too_few["bits"] == pytest.approx(1.011)
    for gpu in (_gpu(flashmla=1.49), _gpu(amla=1.52)):
        behind = judge(_table(), gpu)
        assert behind["met"] is False and behind["behind"] == ["ragged"]


def test_beside_the_gpu():
    """More accurate than FlashMLA on every case that was recorded; its errors are those of its words."""
    rows = compare_recorded()
    assert [row["case"] for row in rows] == ["ragged", "causal", "edges"] and rows[0]["keys"] == [300, 1024]
    for row in rows:
        assert row["amla"] <= min(row["flashmla"], 1.015 * row["rounding"])
    assert [f"{row['flashmla']:.3e}" for row in rows] == ["2.011e-03", "2.025e-03", "7.331e-04"]


def test_tiny_study():
    lines = []
    study = Study(distributions=("normal-4", "zero-columns"), seeds={96: 2, 64: 1}, shape=SHAPE)
    result = run_study(study, lines.append)
    json.dumps(result, allow_nan=False)
    assert len(lines) == 6 and lines[0].startswith("[1/6] N(0, 4), 64 keys, seed 0: mul, BF16 P: ")
    table = {(entry["distribution"], entry["keys"], entry["variant"]): entry for entry in result["results"]}
    assert len(table) == 2 * 2 * len(VARIANTS)
    for (_, length, name), entry in table.items():
        assert len(entry["errors"]) == study.seeds[length] and sum(entry["histogram"]) == 64 * study.seeds[length]
        if name != "paper":
            assert entry["lse_max_abs"] < 1e-4
            low, high = (1e-5, 1e-2) if name.endswith("BF16 P") else (1e-6, 1e-3)
            assert low < entry["mean"] < high, "P in BF16: 2^-9 each, less on average; in U6.10: 2^-12"
            assert entry["rounding"] <= entry["rounded"] * 1.01 < 1e-2
        if name == BASELINE:
            assert entry["ratio"] == pytest.approx(1)
    assert table["zero-columns", 96, "paper"]["mean"] > 100 * table["zero-columns", 96, "amla"]["mean"]
    assert result["goal"]["met"] is None


def test_deterministic_and_joined_by_length():
    both, short, long = _tiny((32, 64)), _tiny((32,)), _tiny((64,))
    joined = join([short, long])
    for study in (both, joined):
        del study["seconds"]
    assert both == joined


def test_studies_that_do_not_join():
    study = _tiny((32,))
    with pytest.raises(AmlaError, match="must have different lengths, not 32, 32"):
        join([study, study])
    with pytest.raises(AmlaError, match="must agree in distributions"):
        join([study, _tiny((64,), ("equal",))])


def test_integers_of_any_kind_are_taken():
    study = Study(distributions=("equal",), seeds={np.int64(8): np.uint8(2)}, shape=Shape(rows=np.int16(4)))
    assert study == Study(distributions=("equal",), seeds={8: 2}, shape=Shape(rows=4))
    assert {type(value) for value in (*study.seeds, *study.seeds.values(), study.shape.rows)} == {int}
    assert all(map(np.array_equal, draw("equal", Shape(rows=2), np.int64(5), 0), draw("equal", Shape(rows=2), 5, 0)))


@pytest.mark.parametrize("values, message", [
    ({"distributions": ("cauchy",), "seeds": {8: 1}}, "distribution must be one of .*, not 'cauchy'"),
    ({"distributions": (), "seeds": {8: 1}}, "at least one distribution and one length, not none"),
    ({"distributions": ("equal",), "seeds": {0: 1}}, "keys must be a positive integer, not 0"),
    ({"distributions": ("equal",), "seeds": {8: 0}}, "seeds must be a positive integer, not 0"),
])
def test_bad_studies(values, message):
    with pytest.raises(AmlaError, match=message):
        Study(**values)


@pytest.fixture
def without_plots(monkeypatch):
    monkeypatch.setattr(accuracy_plots, "plot", lambda study: {})


def test_command(tmp_path, capsys, without_plots):
    arguments = ["--keys", "700", "--distributions", "equal", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--docs", str(tmp_path / "docs")]) == 0
    assert "goal: not measured" in capsys.readouterr().out
    assert "accuracy.json" in {path.name for path in (tmp_path / "out").iterdir()}
    page = (tmp_path / "out" / "results.md").read_text()
    assert page == (tmp_path / "docs" / "results.md").read_text() and "all-equal scores" in page
    assert main(["--from-json", str(tmp_path / "out" / "accuracy.json"), "--out", str(tmp_path / "again")]) == 0
    assert page == (tmp_path / "again" / "results.md").read_text()


@pytest.mark.parametrize("limit, status, verdict", [(1e9, 0, "goal: met"), (1e-9, 1, "goal: missed")])
def test_the_goal_settles_the_status(limit, status, verdict, tmp_path, capsys, monkeypatch, without_plots):
    monkeypatch.setattr(accuracy, "TABLE_ROWS", (("zero-columns", 64),))
    monkeypatch.setattr(accuracy, "LIMIT", limit)
    path = tmp_path / "accuracy.json"
    path.write_text(json.dumps(_tiny()))
    assert main(["--from-json", str(path), "--out", str(tmp_path)]) == status
    assert verdict in capsys.readouterr().out


@pytest.mark.parametrize("arguments, message", [
    (["--keys", "0"], "keys must be a positive integer, not 0"), (["--seeds", "0"], "seeds"),
    (["--from-json", "none.json"], "cannot read none.json"), (["--out", __file__], "is not a folder"),
])
def test_command_with_bad_arguments(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AmlaError, match=message):
        main(arguments)
    assert not [*tmp_path.iterdir()]
