"""Scatter plots with a Pareto front as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .pareto import front

__all__ = ["Mark", "Scale", "scatter"]

_WIDTH, _HEIGHT = 470, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 24, 40

#: Least part of an axis's span that stays free at both of its ends.
_MARGIN = 0.03


@dataclass(frozen=True)
class Mark:
    """A point of a plot.

    Attributes
    ----------
    index:  of the point on the page
    x, y:   in units of the axes
    group:  points of one group have one colour and one front
    shift:  pixels to the right, where points would hide each other
    chosen: drawn large
    """

    index: int
    x: float
    y: float
    group: int
    shift: float
    chosen: bool


@dataclass(frozen=True)
class Scale:
    """An axis: from value to pixel, and its ticks."""

    low: float
    high: float
    first: float
    last: float
    step: float

    @classmethod
    def of(cls, values: Sequence[float], first: float, last: float) -> "Scale":
        """A linear axis of about six round ticks around the values, from pixel ``first`` to ``last``."""
        low, high = min(values), max(values)
        span = (high - low) or abs(high) or 1.0
        rough = span / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
        return cls(low - _MARGIN * span, high + _MARGIN * span, first, last, step)

    def __call__(self, value: float) -> float:
        return self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first)

    @property
    def ticks(self) -> list[float]:
        """Multiples of the step on the axis."""
        return [index * self.step for index in range(math.ceil(self.low / self.step),
                                                     math.floor(self.high / self.step) + 1)]


def scatter(marks: Sequence[Mark], *, x: str, y: str, percent: bool, together: bool) -> str:
    """Points, and for each group the front of least x and most y, as SVG.

    Parameters
    ----------
    x, y:     titles of the axes
    percent:  y is a share
    together: one front for all groups
    """
    across = Scale.of([mark.x for mark in marks], _LEFT, _WIDTH - _RIGHT)
    up = Scale.of([mark.y for mark in marks], _HEIGHT - _BOTTOM, _TOP)
    base = _HEIGHT - _BOTTOM
    grid = "".join(
        f'<line class="grid" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="{_TOP}" y2="{base}"/>'
        f'<text class="soft" x="{across(tick):.1f}" y="{base + 15}" text-anchor="middle">{tick:,g}</text>'
        for tick in across.ticks)
    grid += "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>'
        f'<text class="soft" x="{_LEFT - 6}" y="{up(tick) + 4:.1f}" text-anchor="end">'
        f'{f"{100 * tick:.4g} %" if percent else f"{tick:,g}"}</text>' for tick in up.ticks)
    groups = {0: list(marks)} if together else {
        group: [mark for mark in marks if mark.group == group] for group in sorted({mark.group for mark in marks})}
    lines = "".join(
        f'<path class="front {"all" if together else f"g{group}"}" d="{_steps(found, across, up)}"/>'
        for group, found in groups.items())
    dots = "".join(
        f'<circle class="g{mark.group}{" chosen" if mark.chosen else ""}" data-i="{mark.index}" '
        f'cx="{across(mark.x) + mark.shift:.1f}" cy="{up(mark.y):.1f}" r="{4 if mark.chosen else 2.5}"/>'
        for mark in sorted(marks, key=lambda mark: mark.chosen))
    return (f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(y)} against {escape(x)}">{grid}'
            f'<text class="soft" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
            f'{escape(x)}</text><text class="soft" x="4" y="12">{escape(y)}</text>{lines}{dots}</svg>')


def _steps(marks: Sequence[Mark], across: Scale, up: Scale) -> str:
    """The staircase through the front: at each x the most y that is to be had for it, to the end of the axis."""
    corners = sorted({(marks[index].x, marks[index].y) for index in front([(-mark.x, mark.y) for mark in marks])})
    path = f"M{across(corners[0][0]):.1f} {up(corners[0][1]):.1f}"
    for x, y in corners[1:]:
        path += f"H{across(x):.1f}V{up(y):.1f}"
    return f"{path}H{across.last:.1f}"
