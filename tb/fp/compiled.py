"""Stream a million vectors through operators, one per cycle, by a compiled driver.

Python makes every cycle's inputs beforehand and compares all outputs afterwards; between the two a C++ program around
the verilated design reads one record per cycle and writes one. The operators stand side by side and are all busy in
every cycle. Same tables as the cocotb benches of ``tb/fp/pipeline.py``.
"""

import os
import random
import subprocess
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from amaranth import Shape
from amaranth.lib import wiring
from amla.rtl.emit import emit
from amla.sw.processes import run_child
from amla.tb.fp.table import Operator, as_bytes, show, side_by_side
from amla.tb.runner import (
    BUILD_ROOT,
    TIMEOUT_S,
    BenchError,
    built_once,
    locked,
    make_arguments,
    rerun,
    set_path,
)

__all__ = ["COUNT", "run_compiled"]

#: Vectors per operator.
COUNT = 1 << 20

#: Nothing is public but the ports, and what runs once is not optimised: half of the build is Verilator's runtime.
_ARGUMENTS = ("--cc", "--exe", "--build", "-j", "2", "-o", "driver", "-O3", "--x-assign", "fast", "--x-initial", "fast",
              "--noassert", "-Wno-lint", "-CFLAGS", "-march=native", "-MAKEFLAGS", "OPT_FAST=-O2",
              "-MAKEFLAGS", "OPT_GLOBAL=-O0")

_MAIN = """\
// Clocks the design once per record of inputs and writes the outputs of every cycle, as they are before its edge.
#include "Vtop.h"
#include <cstdio>
#include <cstring>

int main(int, char** arguments) {{
    VerilatedContext context;
    Vtop top{{&context}};
    char inputs[{input_bytes}], outputs[{output_bytes}];
    FILE* source = std::fopen(arguments[1], "rb");
    FILE* target = std::fopen(arguments[2], "wb");
    if (!source || !target) return 1;
    while (std::fread(inputs, sizeof inputs, 1, source)) {{
{drive}
{low}
        top.eval();
{sample}
        std::fwrite(outputs, sizeof outputs, 1, target);
{high}
    }}
    return std::fclose(target);
}}
"""


class _Ports:
    """The ports of one direction and their place in a record: each as wide as Verilator's type for it."""

    def __init__(self, component: wiring.Component, flow: wiring.Flow):
        self.widths = {port: Shape.cast(member.shape).width
                       for port, member in component.signature.members.items() if member.flow is flow}
        self._sizes = {port: _type_bytes(width) for port, width in self.widths.items()}
        self.record = np.dtype([(port, np.uint8, (size,)) for port, size in self._sizes.items()])

    def copies(self, line: str) -> str:
        """``line`` of C++ for every port, with its ``port``, ``offset`` in the record and ``size``."""
        offsets = accumulate(self._sizes.values(), initial=0)
        return "\n".join(f"        {line.format(port=port, offset=offset, size=size)}"
                         for (port, size), offset in zip(self._sizes.items(), offsets, strict=False))


def _type_bytes(width: int) -> int:
    """Size of the type of a port: 8, 16, 32 or 64 bits, or whole words of 32 bits."""
    return next((size for size in (1, 2, 4, 8) if width <= 8 * size), -(-width // 32) * 4)


def _main(inputs: _Ports, outputs: _Ports, *, clocked: bool) -> str:
    """The driver's C++: bytes of a record are copied to and from the ports as they are."""
    return _MAIN.format(
        input_bytes=inputs.record.itemsize, output_bytes=outputs.record.itemsize,
        drive=inputs.copies("static_assert(sizeof top.{port} == {size}); "
                            "std::memcpy((void*)&top.{port}, inputs + {offset}, {size});"),
        sample=outputs.copies("static_assert(sizeof top.{port} == {size}); "
                              "std::memcpy(outputs + {offset}, (void*)&top.{port}, {size});"),
        low="        top.clk = 0;" * clocked, high="        top.clk = 1;\n        top.eval();" * clocked,
    )


def _build(component: wiring.Component, name: str, inputs: _Ports, outputs: _Ports) -> Path:
    """The compiled driver around ``component``, cached by its Verilog."""
    set_path()
    out = BUILD_ROOT / "verilator" / name
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        emit(component, name=name, out=out)
        design, main = out / f"{name}.v", out / "main.cpp"
        main.write_text(_main(inputs, outputs, clocked="input clk;" in design.read_text(encoding="utf-8")),
                        encoding="utf-8")
        command = ["verilator", *_ARGUMENTS, "--prefix", "Vtop", "--top-module", name, "--Mdir", str(out / "obj"),
                   *(text for variable in make_arguments() for text in ("-MAKEFLAGS", variable)),
                   str(design), str(main)]
        with built_once(out, command, [design, main]) as wanted:
            if wanted:
                with open(out / "build.log", "wb") as log:
                    status = run_child(command, timeout=TIMEOUT_S, stdout=log, stderr=subprocess.STDOUT)
                if status:
                    raise RuntimeError(f"verilator ended with status {status}")
    return out / "obj" / "driver"


def _records(ports: _Ports, columns: Mapping[str, np.ndarray], cycles: int) -> np.ndarray:
    """``cycles`` records of ``ports``; zeros beyond the end of the columns, and for ports that have none."""
    records = np.zeros(cycles, dtype=ports.record)
    for port, words in columns.items():
        given, (whole, part) = as_bytes(words), divmod(ports.widths[port], 8)
        if (given[:, whole:whole + 1] >> part).any() or given[:, whole + 1:].any():
            raise ValueError(f"words of {port} must fit its {ports.widths[port]} bits")
        field = records[port]
        size = min(given.shape[1], field.shape[1])
        field[:len(given), :size] = given[:, :size]
    return records


def _simulate(driver: Path, records: np.ndarray, outputs: _Ports) -> np.ndarray:
    """The records of outputs, one per record of inputs."""
    with TemporaryDirectory(dir=driver.parent) as folder:
        source, target = Path(folder) / "inputs", Path(folder) / "outputs"
        records.tofile(source)
        try:
            status = run_child([driver, source, target], timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise BenchError(str(error)) from None
        if status:
            raise BenchError(f"{driver} ended with status {status}")
        return np.fromfile(target, dtype=outputs.record)


def _shown(column: np.ndarray, index: int, width: int) -> str:
    return show(int.from_bytes(column[index].tobytes(), "little"), width)


def run_compiled(operators: Mapping[str, Operator], *, name: str, count: int = COUNT) -> None:
    """Build ``operators`` side by side as ``name`` and stream ``count`` vectors through all of them at once.

    Every output must be golden's, at the promised latency. Honours AMLA_SEED.

    Raises
    ------
    BenchError: the build fails, or a result differs; the message names the first mismatch of every output.
    """
    seed = int(os.environ.get("AMLA_SEED", random.SystemRandom().randrange(2**31)))
    component = side_by_side(operators)
    inputs, outputs = _Ports(component, wiring.In), _Ports(component, wiring.Out)
    driver = _build(component, name, inputs, outputs)
    cases = [operator.case(one, np.random.default_rng(seed), count) for one, operator in operators.items()]
    vectors = {port: words for columns, _ in cases for port, words in columns.items()}
    results = {result.port: result for _, expected in cases for result in expected}
    lengths = {len(words) for words in [*vectors.values(), *(result.words for result in results.values())]}
    assert lengths == {count} and count, f"vectors and results must be {count} each, not {sorted(lengths)!r}"
    assert set(vectors) == set(inputs.widths) and set(results) == set(outputs.widths), \
        "every port must have its vectors or results"

    cycles = count + max(result.latency for result in results.values())
    records = _records(inputs, vectors, cycles)
    expected = _records(outputs, {port: result.words for port, result in results.items()}, count)
    got = _simulate(driver, records, outputs)
    assert len(got) == cycles, f"{name} must give {cycles} records, not {len(got)}"

    failures = []
    for columns, of_operator in cases:
        for port, latency in ((result.port, result.latency) for result in of_operator):
            words = got[port][latency:latency + count]
            wrong = np.flatnonzero((words != expected[port]).any(axis=1))
            if len(wrong):
                first, width = wrong[0], outputs.widths[port]
                vector = ", ".join(f"{one} = {_shown(records[one], first, inputs.widths[one])}" for one in columns)
                failures.append(f"{port}, {len(wrong)} of {count} wrong, vector {first}: "
                                f"{_shown(words, first, width)}, "
                                f"expected {_shown(expected[port], first, width)}; {vector}")
    if failures:
        raise BenchError("\n".join([*failures, rerun(seed)]))
