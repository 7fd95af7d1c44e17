"""Fronts and effects on points made by hand."""

import random

import pytest
from amla.sw.explore.pareto import Effect, effects, front

pytestmark = pytest.mark.smoke


def test_a_front_of_two_goals():
    #          front   under (1,5)  front   equal   under both
    points = [(1, 5), (0, 5), (3, 3), (3, 3), (2, 2), (5, 1), (5, 0)]
    assert front(points) == [0, 2, 3, 5]
    assert front([]) == [] and front([(1, 2)]) == [0]


def test_a_front_of_four_goals_is_what_nothing_dominates():
    rng = random.Random(1)
    points = [[rng.randrange(6) for _ in range(4)] for _ in range(300)]

    def dominates(one, other):
        return one != other and all(a >= b for a, b in zip(one, other, strict=True))

    assert front(points) == [index for index, point in enumerate(points)
                             if not any(dominates(other, point) for other in points)]


def test_effects_compare_what_differs_in_one_axis_alone():
    rows = [{"a": 1, "b": None, "cycles": 100}, {"a": 2, "b": None, "cycles": 50}, {"a": 1, "b": 7, "cycles": 80},
            {"a": 2, "b": 7, "cycles": 160}, {"a": 3, "b": 8, "cycles": 1}]
    both, half = pytest.approx(2**0.5), pytest.approx(1.25**0.5)
    assert effects(rows, ["a", "b"]) == [
        Effect("a", 1, both, 2, 2), Effect("a", 2, both, 2, 2),
        Effect("b", None, half, 1.25, 2), Effect("b", 7, pytest.approx(3.2**0.5), 3.2, 2)]
