"""The loads of a program: sinks, Q row tiles, and KV blocks run by run."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from amla.rtl.isa import Opcode, Semaphore

from .drafts import Draft, Drafts
from .items import Item
from .key_cache import KeyRun, KeySource
from .plan import Piece, Plan
from .program import Annotation

__all__ = ["Addresses", "Layout", "Loader"]


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the arrays lie in GM (byte addresses).

    Attributes
    ----------
    sink:     None without sinks
    requests: which request of the arrays each of the program's is; None: the same
    """

    q: int
    o: int
    lse: int
    sink: int | None = None
    requests: Sequence[int] | None = None

    def request(self, number: int) -> int:
        """Place in the arrays of a request of the program."""
        return number if self.requests is None else self.requests[number]


@dataclass(frozen=True)
class Layout:
    """A KV block in L1: column panels one after the other, each in row groups of chunks of k columns.

    A chunk is a fractal's width.
    """

    base: int
    groups: int
    panels: tuple[Piece, ...]

    def locate(self, chunk: int, group: int = 0) -> tuple[int, int]:
        """Word of a fractal, and words from one row group to the next."""
        panel = next(panel for panel in self.panels if chunk < panel.stop)
        return self.base + self.groups * panel.start + group * panel.size + chunk - panel.start, panel.size


class Loader:
    """Emits LOADs in the order in which FEED needs their data, or in which their place in L1 comes free.

    Q comes in column panels, each a slot of its own (Q_READY, Q_FREE), so that the next tile's queries take the
    places that the last block's C1 leaves. KV comes in blocks of whole rows, which make long bursts, a token of
    KV_READY each. At first, though, the cube computes as fast as memory loads and lags behind by what it has to wait
    for at a time: the first blocks come in panels, too, a token each, the first one's between those of Q. Keys
    that come whole, FP8 and listed ones, come before Q.
    """

    def __init__(self, drafts: Drafts, addresses: Addresses, keys: KeySource, items: Sequence[Item]):
        self._drafts, self._addresses, self._keys = drafts, addresses, keys
        self._plan: Plan = drafts.plan
        self._row_bytes = 2 * self._plan.workload.head_dim
        self._whole = (Piece(0, self._plan.workload.head_dim // self._plan.config.k),)
        self._todo = deque(self._order(items))

    def q_layout(self, item: Item, slab: Piece) -> tuple[int, int]:
        """Word of a slab of the item's row tile of Q, and words from one row group to the next."""
        number, panel = self._panel(slab)
        return self._q_slot(item, number) + item.group0 * panel.size + slab.start - panel.start, panel.size

    def kv_layout(self, item: Item) -> Layout:
        """Where the item's block lies while it is resident."""
        return Layout(self._drafts.slot("KV", item.block_sequence), self._plan.kv_block // self._plan.config.n,
                      self._kv_panels(item))

    def feeds(self, item: Item, slab: Piece, feed_a: Draft, feed_b: Draft) -> None:
        """The feeds of an item's score slab: what they wait for, and what they give back."""
        number, panel = self._panel(slab)
        opens, closes = slab.start == panel.start, slab.stop == panel.stop
        if opens and item.first:
            feed_a.waits_for(Semaphore.Q_READY)
        if closes and item.last:
            self._drafts.give("Q", feed_a)
        if item.loads_block and opens and (number == 0 or len(self._kv_panels(item)) > 1):
            feed_b.waits_for(Semaphore.KV_READY)

    def load(self, block_sequence: int) -> None:
        """Emit what may have been loaded by the time at which this block is computed with."""
        while self._todo and self._todo[0][0] <= block_sequence:
            _, item, loads = self._todo.popleft()
            self._drafts.note = Annotation(item.request, item.index, item.block, "load")
            for load in loads:
                load()

    def _order(self, items: Sequence[Item]) -> list[tuple[int, Item, Sequence[Callable[[], None]]]]:
        """(block in whose time there is room, item, loads), in the order of loading."""
        slots, preload = self._plan.regions["KV"].slots, self._plan.preload
        todo: list[tuple[int, Item, Sequence[Callable[[], None]]]] = []
        for item in items:
            q = [partial(self._load_q, item, number) for number in range(len(self._plan.panels)) if item.first]
            keys = [partial(self._load_keys, item, panel) for panel in self._kv_panels(item) if item.loads_block]
            if item.sequence == 0:
                first = [load for pair in zip(q, keys, strict=True) for load in pair] if len(keys) > 1 else keys + q
                if self._addresses.sink is not None:
                    first.insert(0, partial(self._load_sinks, self._addresses.sink))
                todo.append((0, item, first))
                continue
            if keys:
                # The block that has the slot ends while the C1 runs that is a block further than the preload depth. The
                # serial baseline loads a block ahead: its fences wait for loads, too.
                ahead = slots - preload - 1 if preload else 0
                todo.append((max(item.block_sequence - ahead, 0), item, keys))
            if q:
                todo.append((max(item.block_sequence - min(preload, 1), 0), item, q))
        return sorted(todo, key=lambda entry: entry[0])

    def _panel(self, slab: Piece) -> tuple[int, Piece]:
        """The panel that holds a slab, and its number."""
        return next((number, panel) for number, panel in enumerate(self._plan.panels) if slab.start < panel.stop)

    def _kv_panels(self, item: Item) -> tuple[Piece, ...]:
        """Panels in which the item's block is loaded."""
        return self._plan.panels if item.block < self._plan.early_blocks else self._whole

    def _q_slot(self, item: Item, number: int) -> int:
        return self._drafts.slot("Q", item.tile_sequence * len(self._plan.panels) + number)

    def _load_q(self, item: Item, number: int) -> None:
        plan, tile, panel = self._plan, item.tile, self._plan.panels[number]
        row = self._addresses.request(item.request) * plan.workload.rows + tile.row
        load = self._drafts.emit(
            Opcode.LOAD, a_side=True,
            address=self._addresses.q + row * self._row_bytes + 2 * plan.config.k * panel.start,
            pitch=self._row_bytes, rows=tile.rows, rows_padded=tile.groups * plan.config.m,
            cols=plan.config.k * panel.size, l1=self._q_slot(item, number) + item.group0 * panel.size, row0=0,
        )
        if item.group0 == 0:
            self._drafts.take("Q", load)
        load.signals(Semaphore.Q_READY)

    def _load_keys(self, item: Item, panel: Piece) -> None:
        """Load a panel of the item's block, run by run; the last one pads with zeros."""
        plan = self._plan
        k, base = plan.config.k, self.kv_layout(item).locate(panel.start)[0]
        runs = [*self._keys.runs(item.request, item.keys)]
        if not runs:
            runs.append(KeyRun(0, 0, Opcode.LOAD, {"address": self._addresses.q, "pitch": 0}))
        loads = []
        for run in runs:
            group, row0 = divmod(run.key, plan.config.n)
            load = self._drafts.emit(
                run.opcode, rows=run.count, cols=k * panel.size, l1=base + group * panel.size, row0=row0,
                rows_padded=plan.padded_keys(item.keys.size) - run.key if run is runs[-1] else run.count,
                **{**run.operands, "address": run.operands["address"] + 2 * k * panel.start})
            loads.append(load)
        if panel.start == 0:
            self._drafts.take("KV", loads[0])
        loads[-1].signals(Semaphore.KV_READY)

    def _load_sinks(self, address: int) -> None:
        """Load the sinks, before anything else: all that NORMALIZE waits for comes behind them."""
        config = self._plan.config
        words = self._plan.sink_words
        self._drafts.emit(Opcode.LOAD, address=address, pitch=config.axi_data_bytes, rows=words, rows_padded=words,
                          cols=config.beat_elements, l1=0, row0=0, sinks=True)
