"""Deciding many proofs and their twins over two processes."""

from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from .catalogue import PROOFS
from .rescale_error import Enumeration
from .solve import Outcome, decide

__all__ = ["entry", "run"]

_PROCESSES = 2


def _decide(name: str, broken: bool, folder: Path) -> Outcome:
    proof = PROOFS[name]
    if isinstance(proof, Enumeration):
        return proof.decide(broken=broken)
    return decide(proof, broken=broken, folder=folder)


def run(names: Iterable[str], *, folder: Path) -> list[dict]:
    """Decide the named proofs and their twins; one report entry per proof, in the order of ``names``."""
    names = list(names)
    with ProcessPoolExecutor(_PROCESSES, mp_context=get_context("spawn")) as pool:
        jobs: dict[tuple[str, bool], Future[Outcome]] = {
            (name, broken): pool.submit(_decide, name, broken, folder / (f"{name}-twin" if broken else name))
            for name in names for broken in (False, True)
        }
        return [entry(name, jobs[name, False].result(), jobs[name, True].result()) for name in names]


def entry(name: str, proof: Outcome, twin: Outcome) -> dict:
    """Report entry of proof ``name`` and its twin; ``passed`` if the one is proven and the other refuted."""
    return {
        "name": name, "says": PROOFS[name].says, "engine": PROOFS[name].engine,
        "verdict": proof.verdict, "seconds": proof.seconds,
        "bug": PROOFS[name].bug.says, "twin_verdict": twin.verdict, "twin_seconds": twin.seconds,
        "passed": proof.verdict == "proven" and twin.verdict == "refuted",
        "detail": [] if proof.verdict == "proven" else proof.detail.splitlines(),
        "twin_detail": [] if twin.verdict == "refuted" else twin.detail.splitlines(),
    }
