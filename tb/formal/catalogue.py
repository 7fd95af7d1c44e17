"""Every proof, by name."""

from . import rescale
from .proof import Proof

__all__ = ["PROOFS"]

PROOFS: dict[str, Proof] = {proof.name: proof for proof in (*rescale.PROOFS,)}
