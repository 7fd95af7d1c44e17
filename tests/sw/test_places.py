"""``amla`` in odd places and with odd files: full disks, devices, links, impossible names and numbers, locales."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import asdict

import numpy as np
import pytest
import yaml
from amla.rtl.config import CoreConfig
from amla.sw.cli import main
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.inputs import save_npz
from amla.sw.workload.workload import Workload

_RUN = ("--config", "tiny", "--device", "simulator", "--out", "runs")
_GOLDEN = ("--head-dim-v", "32", "--config", "tiny")


@pytest.fixture
def amla(monkeypatch, capsys, tmp_path):
    """Run ``amla`` in an empty folder; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["amla", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        captured = capsys.readouterr()
        return exit_info.value.code, captured.out, captured.err

    return call


@pytest.fixture
def refused(amla):
    """Run ``amla`` and see it refuse in one line with status 2; returns the line."""
    def call(*arguments):
        status, _, err = amla(*arguments)
        assert status == 2 and err.startswith("amla: ") and err.count("\n") == 1 and len(err) < 2_000, err
        return err

    return call


@pytest.fixture
def arrays(tmp_path):
    """in.npz, an .npz of the workload ``tiny``."""
    save_npz(tmp_path / "in.npz", make_inputs(Workload.load("tiny")))


def test_a_full_disk(amla, refused, no_room, arrays, make_results, tmp_path):
    make_results(tmp_path / "run")
    commands = [("run", "tiny", *_RUN), ("golden", "in.npz", "out.npz", *_GOLDEN), ("report", "run", "--plots"),
                ("schedule", "tiny", "--config", "tiny", "--out", "program.bin")]
    for command in commands:
        assert amla(*command)[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"report.json", "out.npz", "stalls.png", "program.bin"} <= {path.name for path in before}
    for command in commands:
        with no_room(500):
            line = refused(*command)
        assert "cannot write " in line and "File too large" in line
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("out", ["file", "file/inside", "link", "/proc/none"])
def test_results_that_have_no_place(refused, tmp_path, out):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert out.partition("/")[0] in refused("run", "tiny", "--config", "tiny", "--device", "simulator", "--out", out)
    assert (tmp_path / "file").read_bytes() == b"" and len([*tmp_path.iterdir()]) == 2


def test_no_place_is_told_before_the_work(amla, tmp_path):
    (tmp_path / "file").touch()
    _, out, _ = amla("run", "tiny", "--config", "tiny", "--device", "simulator", "--out", "file")
    assert out == ""


def test_output_through_a_link(amla, arrays, tmp_path):
    (tmp_path / "link.npz").symlink_to("target.npz")
    assert amla("golden", "in.npz", "link.npz", *_GOLDEN)[0] == 0
    assert (tmp_path / "link.npz").is_symlink() and np.load(tmp_path / "target.npz")["lse"].dtype == np.float32


def test_output_into_a_device(amla, refused, arrays, tmp_path):
    (tmp_path / "null").symlink_to(os.devnull)
    assert amla("golden", "in.npz", "null", *_GOLDEN)[0] == 0
    assert (tmp_path / "null").is_char_device() and (tmp_path / "null").is_symlink()


_BOMB = ", ".join(f"&a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(30))
_SHAPE = "heads: 8\nhead_dim: 48\nhead_dim_v: 32\nlengths: [10]\n"


@pytest.mark.parametrize(("text", "names"), [
    (_SHAPE + "name: a/b\n", "name"), (_SHAPE + "name: ..\n", "name"), (_SHAPE + "name: ''\n", "name"),
    (_SHAPE + 'name: "a\\0b"\n', "name"), (_SHAPE + 'name: "\\ud800"\n', "name"),
    (_SHAPE + f"name: {'x' * 300}\n", "name"),
    (_SHAPE + f"softmax_scale: 1{'0' * 400}\n", "softmax_scale"), (_SHAPE + "softmax_scale: .nan\n", "softmax_scale"),
    (_SHAPE + f"softmax_scale: 1{'0' * 5000}\n", "YAML"), (_SHAPE + f"seed: 0x{'f' * 5000}\n", "20,000 bits"),
    (_SHAPE + "seed: 2001-99-99\n", "YAML"), (_SHAPE + "seed: !!int ''\n", "YAML"),
    (_SHAPE + "seed: !!timestamp x\n", "YAML"), (_SHAPE + "seed: !!bool x\n", "YAML"),
    (_SHAPE + f"seed: {'[' * 5000}{']' * 5000}\n", "YAML"), (_SHAPE + "seed: &a [*a]\n", "seed"),
    (_SHAPE + f"seed: [&a0 [x], {_BOMB}]\n", "seed"),
    (_SHAPE + "inputs: \"\\0\\e[31m.npz\"\n", r"\x00\x1b[31m.npz"), ("\0", "YAML"),
    ("heads: 1024\nhead_dim: 1024\nhead_dim_v: 512\nlengths: [4194304]\nseed: -1\n", "seed"),
], ids=range(20))
def test_odd_workloads(refused, tmp_path, text, names):
    (tmp_path / "w.yaml").write_text(text, encoding="utf-8")
    assert names in refused("run", "w.yaml", *_RUN)
    assert [path.name for path in tmp_path.iterdir()] == ["w.yaml"]


def test_names_are_no_markup(amla, tmp_path):
    (tmp_path / "w.yaml").write_text(_SHAPE + 'name: "[red]"\n', encoding="utf-8")
    status, out, _ = amla("run", "w.yaml", *_RUN[:-1], "[bold]")
    assert status == 0 and "[red] on tiny" in out and os.path.join("[bold]", "tiny-[red]", "report.json") in out


@pytest.mark.parametrize("change", [
    {"name": "a/b"}, {"m": 1 << 20_000}, {"l1_bytes": 1 << 70}, {"out_bytes": 1 << 66}, {"state_rows": 1 << 60},
], ids=lambda change: next(iter(change)))
def test_odd_configurations(refused, tmp_path, change):
    values = {**asdict(CoreConfig.load("tiny")), **change}
    lines = [f"{key}: {hex(value) if isinstance(value, int) else json.dumps(value)}" for key, value in values.items()]
    (tmp_path / "c.yaml").write_text("\n".join(lines), encoding="utf-8")
    assert f"c.yaml: {next(iter(change))} must be " in refused("schedule", "tiny", "--config", "c.yaml")


@pytest.mark.parametrize("shape", ["(10**30,)", f"({10**30},)", f"({10**14},)", "(-1,)", "{" * 500])
def test_odd_headers(refused, arrays, tmp_path, shape):
    header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        for name in ("q", "kv_cache", "block_table", "cache_seqlens"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert "cannot read odd.npz" in refused("golden", "odd.npz", "out.npz", *_GOLDEN)


def test_pickles_are_not_read(refused, arrays, tmp_path):
    with np.load(tmp_path / "in.npz") as archive:
        content = {**archive, "q": np.array([{}], object)}
    np.savez(tmp_path / "odd.npz", **content)
    assert "cannot read odd.npz: Object arrays" in refused("golden", "odd.npz", "out.npz", *_GOLDEN)


@pytest.mark.parametrize(("name", "change"), [
    ("report.json", lambda content: content | {"cycles": 0}),
    ("report.json", lambda content: content | {"engines": []}),
    ("report.json", lambda content: {"workload": 1, "cycles": 1}), ("program.json", lambda content: {"commands": []}),
    ("program.json", lambda content: content | {"commands": {"a": 1}}),
    ("program.json", lambda content: content | {"commands": [1] * len(content["commands"])}),
    ("program.json", lambda content: content | {"core": None}),
])
def test_odd_results(refused, make_results, tmp_path, name, change):
    path = make_results(tmp_path / "run") / name
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    before = sorted(path.parent.iterdir())
    refused("report", "run", "--plots")
    assert sorted(path.parent.iterdir()) == before


def test_deep_results(refused, make_results, tmp_path):
    (make_results(tmp_path / "run") / "report.json").write_text("[" * 100_000, encoding="utf-8")
    assert "cannot read" in refused("report", "run")


def _in_locale_c(*arguments, cwd):
    """Run ``amla`` where text is ASCII, but for Python's own guesses against it."""
    return subprocess.run([sys.executable, "-m", "amla.sw", *arguments], cwd=cwd, capture_output=True, check=False,
                          env={**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"})


def test_pages_are_utf8_in_any_locale(amla, make_results, tmp_path):
    make_results(tmp_path / "run")
    process = _in_locale_c("report", "run", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, b"")
    there = (tmp_path / "run" / "report.html").read_bytes()
    assert amla("report", "run")[0] == 0
    assert there == (tmp_path / "run" / "report.html").read_bytes() and "·" in there.decode()


def test_reports_print_in_any_locale(tmp_path):
    (tmp_path / "w.yaml").write_text(_SHAPE + "# █\n", encoding="utf-8")
    process = _in_locale_c("run", "w.yaml", *_RUN, cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, b"") and b"every bit" in process.stdout
    assert yaml.safe_load((tmp_path / "runs" / "tiny-w" / "report.json").read_text(encoding="ascii"))["workload"] == "w"
