"""A prediction for people."""

from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .machine import Machine
from .prediction import Prediction

__all__ = ["render", "time_of"]


def time_of(seconds: float) -> str:
    """A time in microseconds, or in milliseconds from ten thousand of them on."""
    return f"{seconds * 1e6:,.1f} µs" if abs(seconds) < 0.01 else f"{seconds * 1e3:,.2f} ms"


def render(prediction: Prediction, machine: Machine, console: Console) -> None:
    """Print a prediction: time, rates, bound, what the time is made of, and published figures of the same shape."""
    seconds, bound = prediction.seconds, prediction.bound
    head = Table.grid(padding=(0, 2))
    peak = f"{machine.peak_flops / 1e12:,.0f} TFLOPS: {prediction.flops / seconds / 1e12:,.1f} TFLOPS"
    rate = f"{prediction.bytes / seconds / 1e9:,.0f} GB/s of {machine.memory_bytes_per_second / 1e9:,.0f}"
    for row in (
            ("time", f"[bold]{time_of(seconds)}[/], predicted"),
            ("utilisation", f"[bold]{100 * prediction.utilisation:.1f} %[/] of {peak}"),
            ("memory", f"{rate}, for keys, queries and results once"),
            ("bound", f"{time_of(bound['seconds'])} by {bound['by']}, {100 * bound['seconds'] / seconds:.1f} % of it"),
            ("cores", f"{prediction.cores:,}")):
        head.add_row(*row)
    parts = Table("what the time is made of", box=None, pad_edge=False, header_style="bright_black")
    parts.add_column("time", justify="right")
    parts.add_column("share", justify="right")
    for name, value in prediction.parts.items():
        parts.add_row(name, time_of(value), f"{100 * value / seconds:.1f} %")
    blocks: list[Any] = [head, Text(), parts]
    if prediction.published:
        beside = Table("published or recorded", box=None, pad_edge=False, header_style="bright_black")
        for name in ("figure", "predicted", "predicted / figure"):
            beside.add_column(name, justify="right")
        beside.add_column("source")
        for one in prediction.published:
            beside.add_row(one.what, time_of(one.seconds), time_of(one.predicted), f"{one.ratio:.3f}",
                           escape(one.source) + "; used" * one.used)
        blocks += [Text(), beside]
    console.print(Panel(
        Group(*blocks), title=f"[bold]{escape(prediction.workload)}[/] on [bold]{escape(prediction.machine)}[/]",
        title_align="left", subtitle=escape(machine.about), subtitle_align="left", padding=(1, 2)))
