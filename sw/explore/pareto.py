"""Pareto fronts, and what each axis does with all else equal."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Effect", "effects", "front"]


def front(values: Sequence[Sequence[float]]) -> list[int]:
    """Rows that no other row dominates, ascending; rows that are equal do not dominate each other.

    Parameters
    ----------
    values: [points, goals], the more the better; what is to be small comes negated
    """
    table = np.asarray(values, float)
    kept: list[int] = []
    for index in np.lexsort(-table.T[::-1]) if len(table) else ():  # what dominates a row comes before it
        row, better = table[index], table[kept]
        if not ((better >= row).all(1) & (better > row).any(1)).any():
            kept.append(int(index))
    return sorted(kept)


@dataclass(frozen=True)
class Effect:
    """What a value of an axis costs, among points that differ in nothing else.

    Attributes
    ----------
    mean, worst: cycles ÷ those of the best value; the mean is geometric
    points:      that were compared
    """

    axis: str
    value: Any
    mean: float
    worst: float
    points: int


def effects(rows: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> list[Effect]:
    """The effects of every axis along which some rows differ in nothing else; values ascend, behind None."""
    found = []
    for axis in axes:
        groups: dict[tuple, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            groups[tuple(repr(row[other]) for other in axes if other != axis)].append(row)
        ratios: dict[Any, list[float]] = defaultdict(list)
        for group in groups.values():
            if len(group) > 1:
                best = min(row["cycles"] for row in group)
                for row in group:
                    ratios[row[axis]].append(row["cycles"] / best)
        found += [Effect(axis, value, math.exp(sum(map(math.log, of)) / len(of)), max(of), len(of))
                  for value, of in sorted(ratios.items(), key=lambda item: (item[0] is not None, item[0]))]
    return found
