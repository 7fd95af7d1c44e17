"""The utilisation report as tables for people; for programs it is report.json."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

__all__ = ["memory_of", "render"]

#: Columns of the engine table: key in the report, heading, colour and block of the bar. The blocks differ too, for
#: terminals and files without colour.
_STATES = (
    ("busy", "busy", "green", "█"),
    ("wait_memory", "wait mem.", "yellow", "▓"),
    ("wait_semaphore", "wait sem.", "blue", "▒"),
    ("idle", "idle", "bright_black", "░"),
)
#: Width of a bar on a wide and on a narrow console.
_BARS = (28, 12)
_WIDE = 120


def memory_of(report: Mapping[str, Any]) -> str:
    """The memory of a run, in words."""
    memory = report["memory"]
    return f"{memory['name']}: {memory['latency']:,} cycles, {memory['bytes_per_cycle']:g} B/cycle"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _bar(shares: list[tuple[float, str, str]], width: int) -> Text:
    """Stacked bar of shares (size, colour, block) that sum to at most one."""
    text, done, total = Text(), 0, 0.0
    for share, colour, block in shares:
        total += share
        end = round(total * width)
        text.append(block * (end - done), style=colour)
        done = end
    text.append("·" * (width - done), style="bright_black")
    return text


def _cycles_table(report: dict[str, Any], width: int) -> Table:
    def gauge(share: float, colour: str) -> Text:
        return _bar([(share, colour, "█")], width)

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", min_width=21)
    table.add_column(justify="right")
    table.add_column(no_wrap=True, min_width=width)
    table.add_column(style="bright_black")
    if report["cycles"] is not None:
        bound, serial = report["bound"], report["serial_baseline"]
        table.add_row(
            "utilisation",
            _percent(report["utilisation"]),
            gauge(report["utilisation"], "green"),
            f"{report['macs']:,} MACs in {report['cycles']:,} cycles",
        )
        table.add_row(
            "cube active",
            _percent(report["cube_active"]),
            gauge(report["cube_active"], "green"),
            "cycles in which a fractal triple issued",
        )
        table.add_row(
            "of the bound",
            _percent(bound["reached"]),
            gauge(bound["reached"], "cyan"),
            f"by {bound['by']}, at best {bound['cycles']:,} cycles",
        )
        if serial is not None:
            table.add_row(
                "serial baseline",
                _percent(serial["utilisation"]),
                gauge(serial["utilisation"], "magenta"),
                f"preload 0: {serial['cycles']:,} cycles, {serial['cycles'] / report['cycles']:.2f} times",
            )
        table.add_row(
            "bytes read",
            f"{report['bytes_read']:,}",
            "",
            f"{report['bytes_read'] / report['cycles']:.1f} B/cycle; {report['traffic']}",
        )
        table.add_row(
            "bytes written",
            f"{report['bytes_written']:,}",
            "",
            f"{report['bytes_written'] / report['cycles']:.1f} B/cycle",
        )
        table.add_row(
            "bandwidth",
            _percent(report["memory"]["used"]),
            gauge(report["memory"]["used"], "yellow"),
            f"of the {report['memory']['sustained_bytes_per_cycle']:.1f} B/cycle that memory sustains",
        )
    else:
        table.add_row("MACs", f"{report['macs']:,}", "", "the command simulator counts no cycles")
        table.add_row("bytes read", f"{report['bytes_read']:,}", "", report["traffic"])
        table.add_row("bytes written", f"{report['bytes_written']:,}", "", "")
    return table


def _engine_table(report: dict[str, Any], width: int) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        title="where each engine's cycles went: busy, waiting for memory, for a semaphore, idle",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("engine", min_width=21)
    for _, heading, colour, block in _STATES:
        table.add_column(f"{block} {heading}", justify="right", style=colour)
    table.add_column("", no_wrap=True, min_width=width)
    for name, states in report["engines"].items():
        shares = [(states[key] / report["cycles"], colour, block) for key, _, colour, block in _STATES]
        table.add_row(name, *(_percent(share) for share, _, _ in shares), _bar(shares, width))
    return table


def _checks_table(report: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", min_width=21)
    table.add_column()
    table.add_row("SRAM", f"{sum(report['sram_kib'].values()):,.1f} KiB: " + ", ".join(
        f"{name.upper()} {size:,.1f}" for name, size in report["sram_kib"].items()))
    table.add_row("KV block", f"{report['kv_block']} keys")
    exact = report["bit_exact"]
    verdicts = [
        f"[green]= {name}[/]" if same else f"[red]differs from {name}[/]"
        for name, same in exact.items()
        if same is not None
    ]
    table.add_row("O and LSE, every bit", "  ".join(verdicts))
    error, plain = report["error"], report["error_mul"]
    table.add_row(
        "error against float64",
        f"relative Frobenius {error['relative_frobenius']:.3e} "
        f"([bright_black]plain FlashAttention {plain['relative_frobenius']:.3e}[/]), "
        f"largest {error['max_abs']:.2e}, LSE {error['lse_max_abs']:.2e}",
    )
    simulation = report["simulation"]
    if simulation["cycles_per_second"] is not None:
        table.add_row(
            "simulation",
            f"{simulation['wall_seconds']:.1f} s, {simulation['cycles_per_second']:,.0f} cycles/s"
            + (f", build {simulation['build_seconds']:.1f} s" if report["device"] == "rtl" else ""),
        )
    else:
        table.add_row("simulation", f"{simulation['wall_seconds']:.1f} s")
    return table


def render(report: dict[str, Any], console: Console | None = None) -> None:
    """Print ``report`` (the content of report.json) for a person."""
    console = console or Console(highlight=False)
    width = _BARS[console.width < _WIDE]
    parts: list[Any] = [_cycles_table(report, width)]
    if report["engines"]:
        parts += [Text(), _engine_table(report, width)]
    parts += [Text(), _checks_table(report)]
    title = (
        f"[bold]{escape(report['workload'])}[/] on [bold]{escape(report['config'])}[/]  "
        f"device {report['device']}, mode {report['mode']}, preload {report['preload']}, memory {memory_of(report)}"
    )
    console.print(
        Panel(
            Group(*parts),
            title=title,
            title_align="left",
            subtitle=report["description"],
            subtitle_align="left",
            padding=(1, 2),
        )
    )
