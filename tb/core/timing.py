"""The pipelined engines of a run against their cycle models: the end of every command, and WAIT_MEMORY."""

from collections.abc import Callable, Iterable, Sequence

from amla.rtl.config import CoreConfig
from amla.rtl.isa import Engine, Opcode
from amla.sw.compiler.footprint import footprint
from amla.sw.compiler.program import Command

from ..engines.timing import BLOCK, Timeline, cube_timeline, drain_timeline, feed_timeline
from .driver import CoreRun

__all__ = ["check_timing"]


def check_timing(run: CoreRun, commands: Sequence[Command], config: CoreConfig) -> None:
    """Fail unless feed, cube and drain end each command and wait just as their models say, from the starts traced."""
    spans = {index: (int(start), int(end)) for index, start, end in
             zip(*(run.trace[name] for name in ("index", "start", "end")), strict=True)}
    for engine, (make, items) in _MODELS.items():
        timeline, name = make(config), engine.name.lower()
        for index, command in enumerate(commands):
            if command.engine == engine:
                start, end = spans[index]
                due = timeline.accept(items(command, config), start)
                assert end == due, f"command {index} of {name} ran from cycle {start} to {end}, not to {due}"
        waited = run.counters[name]["wait_memory"]
        assert waited == timeline.stalls, f"WAIT_MEMORY of {name} is {waited}, it stalled {timeline.stalls} cycles"


def _feed_items(command: Command, config: CoreConfig) -> Iterable[object]:
    words = sum(words.size for words in footprint(command, config).writes.values())
    group = config.k // config.n
    return (BLOCK if "transpose" in command.flags and index % group == 0 else None for index in range(words))


def _cube_items(command: Command, config: CoreConfig) -> Iterable[int]:
    return footprint(command, config).writes["L0C"].ravel().tolist() * command["kt"]


def _drain_items(command: Command, config: CoreConfig) -> Iterable[tuple[str, int, bool]]:
    writes = footprint(command, config).writes
    if command.opcode == Opcode.DRAIN_O:
        return (("o", word, False) for word in writes["O"].ravel().tolist())
    return (("s", row, group == 0 and "first" not in command.flags)
            for row, words in zip(writes["ROWMAX"].tolist(), writes["S"], strict=True) for group in range(len(words)))


_MODELS: dict[Engine, tuple[Callable[[CoreConfig], Timeline], Callable[[Command, CoreConfig], Iterable]]] = {
    Engine.FEED: (feed_timeline, _feed_items),
    Engine.CUBE: (cube_timeline, _cube_items),
    Engine.DRAIN: (drain_timeline, _drain_items),
}
