"""What FlashMLA's kernel gave on an H200: the cases that the twin and the study of accuracy are held to."""

from pathlib import Path

import numpy as np

__all__ = ["CASES", "load"]

#: `ragged`: 300 and 1,024 keys; `causal`: 77 and 1,024, two query tokens; `edges`: 1, 63, 64, 65, 129 and 0.
CASES = ("ragged", "causal", "edges")


def load(case: str) -> dict[str, np.ndarray]:
    """The arrays of a case: 16 heads, 576/512, pages of 64, softmax scale 576^-1/2, BF16 as words.

    Parameters
    ----------
    case: one of :data:`CASES`

    Returns
    -------
    q uint16[b, s_q, 16, 576], pages uint16[pages, 64, 576], table int32[b, blocks], lens int32[b],
    sched_meta int32[132, 8] and num_splits int32[b + 1], the plan of the GPU, out uint16[b, s_q, 16, 512],
    lse float32[b, s_q, 16], and what else was recorded
    """
    with np.load(Path(__file__).parent / "flashmla_h200.npz") as data:
        return {name.removeprefix(f"{case}__"): data[name] for name in data if name.startswith(f"{case}__")}
