"""Every proof, by name."""

from . import (
    dot_unit,
    engine_queue,
    multiplier,
    polynomial,
    read_arbiter,
    rescale,
    rescale_error,
    rounding,
    semaphores,
    write_arbiter,
)
from .proof import Proof
from .rescale_error import Enumeration

__all__ = ["PROOFS"]

_ALL: tuple[Proof | Enumeration, ...] = (
    *rescale.PROOFS, *rescale_error.PROOFS, *rounding.PROOFS, *multiplier.PROOFS, *polynomial.PROOFS, *dot_unit.PROOFS,
    *semaphores.PROOFS, *read_arbiter.PROOFS, *write_arbiter.PROOFS, *engine_queue.PROOFS,
)

PROOFS: dict[str, Proof | Enumeration] = {proof.name: proof for proof in _ALL}
