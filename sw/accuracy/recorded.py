"""The inputs of FlashMLA's tests that an H200 was recorded on: its errors, and those of the golden model.

The file is ``model/hopper/flashmla_h200.npz``; `docs/flashmla_twin.md` says how it was made.
"""

from typing import Any

import numpy as np
from amla.model import mla_decode, mla_reference
from amla.model.hopper.recorded import CASES, load
from ml_dtypes import bfloat16

__all__ = ["compare_recorded", "relative_error"]


def relative_error(out: np.ndarray, reference: np.ndarray) -> float:
    """Norm of the difference over the norm of the reference."""
    return float(np.linalg.norm(out.astype(np.float64) - reference) / np.linalg.norm(reference))


def compare_recorded() -> list[dict[str, Any]]:
    """For each case its name, heads and keys, and relative errors of the output in BF16 against float64.

    ``flashmla`` is the GPU's, ``amla`` that of the golden model as it is by default, ``rounding`` what rounding
    float64's output costs.
    """
    rows = []
    for case in CASES:
        data = load(case)
        arguments = [data["q"].view(bfloat16), data["pages"].view(bfloat16), data["table"], data["lens"]]
        causal = case == "causal"
        reference, _ = mla_reference(*arguments, causal=causal)
        out, _ = mla_decode(*arguments, causal=causal)
        rows.append({
            "case": case, "heads": int(data["q"].shape[2]), "keys": data["lens"].tolist(),
            "flashmla": relative_error(data["out"].view(bfloat16), reference),
            "amla": relative_error(out, reference),
            "rounding": relative_error(reference.astype(np.float32).astype(bfloat16), reference),
        })
    return rows
