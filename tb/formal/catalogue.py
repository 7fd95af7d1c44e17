"""Every proof, by name."""

from . import read_arbiter, rescale, semaphores
from .proof import Proof

__all__ = ["PROOFS"]

PROOFS: dict[str, Proof] = {proof.name: proof for proof in (*rescale.PROOFS, *semaphores.PROOFS, *read_arbiter.PROOFS)}
