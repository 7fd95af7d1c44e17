"""The study's page and plots: every figure is there, links hold, files are small."""

import copy

import pytest
from amla.sw.accuracy.report import load, markdown, write
from amla.sw.accuracy.study import TABLE_ROWS, Study, judge, run_study
from amla.sw.errors import AmlaError
from amla.sw.workload.distributions import DISTRIBUTIONS, Shape


@pytest.fixture(scope="module")
def study():
    shape = Shape(rows=4, head_dim=24, head_dim_v=16, kv_block=32)
    return run_study(Study(distributions=tuple(DISTRIBUTIONS), seeds={64: 2, 96: 1}, shape=shape), lambda line: None)


def test_every_mean_is_on_the_page(study):
    page = markdown(study)
    for entry in study["results"]:
        if entry["variant"] in ("mul, BF16 P", "mul", "paper"):
            assert f"{entry['mean']:.2e}" in page
        if entry["variant"] == "amla k=1" and entry["ratio"] is not None:
            assert f"{entry['ratio']:.3f}" in page
    for distribution in DISTRIBUTIONS.values():
        assert f"| {distribution.title} |" in page
    assert "2 at 64 keys, 1 at 96 keys" in page and "did not measure" in page
    rows = [line.count("|") for line in page.splitlines() if line.startswith("|")]
    assert min(rows) >= 6
    assert "| `ragged` | 16 | 300, 1,024 | 2.011e-03 |" in page
    assert all(f"{entry['rounded']:.4e}" in page for entry in study["results"] if entry["variant"] == "amla")
    assert " nan" not in page and "None" not in page


def _with_goal(study, **changes):
    """The study with its first entries renamed to the rows of the goal."""
    study = copy.deepcopy(study)
    entries = [entry for entry in study["results"] if entry["distribution"] == "normal-1" and entry["keys"] == 64]
    for key, length in TABLE_ROWS:
        study["results"] += [{**entry, "distribution": key, "keys": length, **changes.get(entry["variant"], {})}
                             for entry in entries]
    study["goal"] = judge(study["results"], study["recorded"])
    return study


def _goal_section(study):
    study = {**study, "results": [entry for entry in study["results"] if entry["keys"] >= 2048]}
    study["distributions"] = {key: value for key, value in study["distributions"].items() if key == "normal-1"}
    study["seeds"] = {"2048": 1, "16384": 1}
    study["distributions"] |= {key: {"title": DISTRIBUTIONS[key].title} for key, _ in TABLE_ROWS}
    table = {(entry["distribution"], entry["keys"], entry["variant"]): entry for entry in study["results"]}
    # Only (normal-1, 2048) is measured at 2,048 keys: fill the other cells of the page's tables.
    for (key, _, name), entry in list(table.items()):
        if (key, 2048, name) not in table:
            study["results"].append({**entry, "keys": 2048})
    return markdown(study)


def test_goal_is_told(study):
    good = _with_goal(study, amla={"ratio": 0.31, "mean": 1e-4}, paper={"mean": 2e-4})
    page = _goal_section(good)
    assert "**Met**: in no row is `amla` / (mul, BF16 P) above 0.310 (at most 0.35), and it is better than" in page
    assert "beside the recorded GPU, behind in no case" in page
    assert "| U(−10, 10), 16,384 |" in page
    bad = _with_goal(study, amla={"ratio": 1.5, "mean": 3e-4}, paper={"mean": 2e-4})
    page = _goal_section(bad)
    assert "**Missed**: in no row is `amla` / (mul, BF16 P) above 1.500" in page
    assert "not better than `paper` in N(0, 1) at 2,048, " in page


def test_a_result_that_is_no_number(study):
    study = copy.deepcopy(study)
    for entry in study["results"]:
        if entry["variant"] == "paper":
            entry |= {"mean": None, "spread": None, "ratio": None, "lse_max_abs": None, "errors": [None]}
    page = markdown(study)
    assert page.count("not finite") == 2 * len(DISTRIBUTIONS) + 2


def _only(study, *keys):
    return {**study, "distributions": {key: study["distributions"][key] for key in keys},
            "results": [entry for entry in study["results"] if entry["distribution"] in keys]}


def test_files(study, tmp_path):
    study = _only(study, "normal-1", "constant", "zero-columns")
    files = write(study, tmp_path / "a", docs=tmp_path / "b")
    assert {path.name for path in files} == {path.name for path in (tmp_path / "a").iterdir()}
    assert load(tmp_path / "a" / "accuracy.json") == study
    plots = [path for path in files if path.suffix == ".png"]
    page = (tmp_path / "a" / "results.md").read_text()
    assert len(plots) == 5 and all(f"]({path.name})" in page for path in plots)
    for path in plots:
        assert path.read_bytes().startswith(b"\x89PNG") and 4_000 < path.stat().st_size < 100_000, path.name
    copies = {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert copies == {path.name: path.read_bytes() for path in files[1:]} and files[0].name == "accuracy.json"


def test_bad_files(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(AmlaError, match=r"cannot read .*: No such file"):
        load(path)
    path.write_text("{")
    with pytest.raises(AmlaError, match="must hold JSON"):
        load(path)
    path.write_text("{}")
    with pytest.raises(AmlaError, match="must be the result of an accuracy study"):
        load(path)
    with pytest.raises(AmlaError, match="cannot make the folder"):
        write({}, path)
