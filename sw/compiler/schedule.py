"""Scheduler: a plan becomes a program.

Each item (one KV block of one row tile) has three stages: C1 scores, V1 softmax, C2 values. With preload
depth p the cube runs C1(0) ... C1(p - 1), then C1(i + p), C2(i) alternately; items of consecutive requests
chain without a seam.

Engines are ordered by semaphores alone. Every buffer is a ring of slots (see :class:`~amla.sw.compiler.drafts.Ring`):
its writer takes a slot, its reader gives it back; all semaphores are zero when the program ends.

Preload 0 is the serial baseline: C1, V1 and C2 of an item strictly one after the other, a FENCE between
items. Only loads run ahead, as in any double-buffered kernel.

A request without keys has one item: a block of k zero keys (LOAD with ``rows`` = 0), none of them visible, so
that the core itself writes O = 0 and LSE = +inf.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from amla.rtl.isa import Opcode, Semaphore

from .drafts import Draft, Drafts
from .items import Item, work_items
from .key_cache import KeySource
from .loads import Addresses, Loader
from .order import by_expected_start
from .plan import Part, Piece, Plan, split
from .program import Annotation, Command

__all__ = ["schedule"]


def schedule(
    plan: Plan, addresses: Addresses, keys: KeySource,
) -> tuple[list[Command], list[Annotation]]:
    """Commands of a plan, HALT last, and what each works on.

    Executed one by one in program order they never block on a semaphore, so that no queue depth can deadlock
    them.

    Parameters
    ----------
    plan:      of the tiler
    addresses: of the arrays in GM
    keys:      where the keys of its requests are
    """
    drafts = _Scheduler(plan, addresses, keys).drafts()
    commands = [draft.command() for draft in drafts]
    order = by_expected_start(commands, plan.config, plan.memory)
    return [commands[index] for index in order], [drafts[index].note for index in order]


class _Scheduler:
    """Emits the stages of all items. Each engine's order is final; how the engines mix is settled later."""

    def __init__(self, plan: Plan, addresses: Addresses, keys: KeySource):
        self._plan, self._config, self._workload = plan, plan.config, plan.workload
        self._addresses = addresses
        self._out = Drafts(plan)
        self._items = list(work_items(plan))
        self._loader = Loader(self._out, addresses, keys, self._items)

    def drafts(self) -> list[Draft]:
        if self._plan.preload:
            self._overlapped()
        else:
            self._serial()
        self._out.note = Annotation()
        self._out.emit(Opcode.HALT)
        return self._out.close()

    def _serial(self) -> None:
        """Stage after stage, item after item; only loads run ahead."""
        for item in self._items:
            self._loader.load(item.block_sequence)
            for _ in (*self._scores(item), *self._values(item)):
                pass
            if item.frees_block:
                self._loader.load(item.block_sequence + 1)
            self._out.note = Annotation()
            self._out.emit(Opcode.FENCE)

    def _overlapped(self) -> None:
        """C1 and C2 in turns, slab by slab, each in proportion to its share of the cube; C2 lags behind its C1.

        So the drain has the cube's time of both for a sub-tile of values, and the softmax that of the lag. Slabs are
        placed on the axis of the C1s' cube cycles: an item's C2 from its start to that of the next item's. The C2 of
        the last two items come after all C1 and in turns, sub-tile by sub-tile: the stores of the first columns,
        which nothing else hides, then begin while there is a whole C2 left to do.
        """
        plan, items = self._plan, self._items
        ends = [*accumulate(self._score_cycles(item) for item in items)]

        def end(number: int) -> float:
            return ends[min(number, len(items) - 1)]

        share = ends[-1] / (ends[-1] + sum(map(self._value_cycles, items)))
        lag = plan.lag * share / plan.tiles[0].groups
        starts = [min(end(number) + lag * item.tile.groups, end(number + plan.preload))
                  for number, item in enumerate(items)]
        stops = [end(number + plan.preload) if plan.pressed else following
                 for number, following in enumerate([*starts[1:], end(len(items))])]
        # Row tiles of one block follow each other fast: the state's next one may not begin before it is read.
        opens = {item.tile_sequence: number for number, item in reversed([*enumerate(items)])}
        for number, item in enumerate(items):
            heir = opens.get(item.tile_sequence + plan.regions["STATE"].slots, len(items))
            stops[number] = min(stops[number], end(heir - 1))
        values = self._place_values(starts, stops)
        placed = next(values, None)
        for item, stop in zip(items, ends, strict=True):
            self._loader.load(item.block_sequence)
            now = stop - self._score_cycles(item)
            for cycles in self._scores(item):
                now += cycles
                while placed is not None and placed <= now:
                    placed = next(values, None)
        while placed is not None:
            placed = next(values, None)

    def _place_values(self, starts: Sequence[float], stops: Sequence[float]) -> Iterator[float]:
        """Yield the place of the next slab of values; it is emitted when the generator goes on."""
        pair = self._items[-2:]
        if len(pair) < 2 or pair[0].tile_sequence != pair[1].tile_sequence:
            pair = []
        for item, start, stop in zip(self._items[:len(self._items) - len(pair)], starts, stops, strict=False):
            total, done = self._value_cycles(item), 0
            slabs = self._values(item)
            while done < total:
                yield start + (stop - start) * done / total
                done += next(slabs)
        if pair:
            yield from self._place_last(*pair, at=stops[-1])

    def _place_last(self, item: Item, last: Item, *, at: float) -> Iterator[float]:
        """The last two items' values in turns; the first is ahead by the lag, and at least by a sub-tile.

        No scores follow, so that the last item's sub-tiles take the scores' slots, where they fit.
        """
        regions = self._plan.regions
        ring = "SCORES" if regions["SCORES"].words >= regions["VALUES"].words else "VALUES"
        tile = item.tile.groups * (self._plan.value_tiles[0].size // self._config.n) * (
            self._plan.padded_keys(item.keys.size) // self._config.k)
        ahead = max(self._plan.lag, tile)
        total, done, done_last = self._value_cycles(item), 0, 0
        slabs, slabs_last = self._values(item), self._values(last, ring)
        while done_last < self._value_cycles(last):
            yield at
            share = done_last * total / self._value_cycles(last)  # by columns: the blocks may differ in keys
            if done < total and done - share < ahead:
                done += next(slabs)
            else:
                done_last += next(slabs_last)

    def _score_cycles(self, item: Item) -> int:
        return item.tile.groups * (self._plan.padded_keys(item.keys.size) // self._config.n) * (
            self._workload.head_dim // self._config.k)

    def _value_cycles(self, item: Item) -> int:
        return item.tile.groups * (self._workload.head_dim_v // self._config.n) * (
            self._plan.padded_keys(item.keys.size) // self._config.k)

    def _scores(self, item: Item) -> Iterator[int]:
        """C1: S = Q K^T; yields the cube cycles of each slab after it."""
        plan, config, out = self._plan, self._config, self._out
        note = Annotation(item.request, item.index, item.block, "C1")
        mt, nt = item.tile.groups, plan.padded_keys(item.keys.size) // config.n
        kv, l0c = self._loader.kv_layout(item), out.next("SCORES")
        for slab in plan.score_slabs:
            out.note = note
            word, pitch = kv.locate(slab.start)
            q_word, q_pitch = self._loader.q_layout(item, slab)
            feed_a, feed_b = self._multiply(
                "SCORES",
                {"l1": q_word, "outer": slab.size, "inner": mt, "outer_stride": 1, "inner_stride": q_pitch},
                {"l1": word, "outer": slab.size, "inner": nt, "outer_stride": 1, "inner_stride": pitch},
                l0c=l0c, mt=mt, nt=nt, kt=slab.size, first=slab is plan.score_slabs[0],
                last=slab is plan.score_slabs[-1],
            )
            self._loader.feeds(item, slab, feed_a, feed_b)
            if slab is plan.score_slabs[-1]:
                drain = out.emit(
                    Opcode.DRAIN_S, l0c=l0c, mt=mt, nt=nt, s_pitch=plan.kv_block // config.lanes,
                    s=out.slot("S", item.sequence), rowmax=out.slot("ROWMAX", item.sequence), first=True,
                    **self._mask(item),
                )
                drain.waits_for(Semaphore.L0C_READY)
                out.give("SCORES", drain)
                out.take("S", drain)
                drain.signals(Semaphore.DRAINED)
                self._softmax(item)
            yield mt * nt * slab.size

    def _softmax(self, item: Item) -> None:
        """V1: S becomes P; row state and row offsets."""
        config, out = self._config, self._out
        out.note = Annotation(item.request, item.index, item.block, "V1")
        softmax = out.emit(
            Opcode.SOFTMAX, s=out.slot("S", item.sequence), s_pitch=self._plan.kv_block // config.lanes,
            rowmax=out.slot("ROWMAX", item.sequence), state=out.slot("STATE", item.tile_sequence) + item.group0,
            offsets=out.slot("OFFSETS", item.sequence), mt=item.tile.groups,
            kt=self._plan.padded_keys(item.keys.size) // config.k, p=out.slot("P", item.sequence),
            first=item.first, **self._mask(item),
        )
        softmax.waits_for(Semaphore.DRAINED)
        softmax.signals(Semaphore.P_READY)
        out.give("S", softmax)
        out.take("P", softmax)

    def _values(self, item: Item, ring: str = "VALUES") -> Iterator[int]:
        """C2: O = rescaled O + P V, sub-tile of columns by sub-tile; after the rows' last block their end.

        ``ring`` has the slots for the sub-tiles. Yields the cube cycles of each slab after it.
        """
        plan, config, out = self._plan, self._config, self._out
        note = Annotation(item.request, item.index, item.block, "C2")
        mt, chunks = item.tile.groups, plan.padded_keys(item.keys.size) // config.k
        groups_per_chunk = config.k // config.n
        kv, p = self._loader.kv_layout(item), out.slot("P", item.sequence)
        slabs = split(chunks, plan.value_chunks)
        parts = plan.parts(final=item is self._items[-1])
        for part in parts:
            for columns in part.tiles:
                place = Piece(columns.start // config.k, columns.size // config.k)
                nt, l0c = columns.size // config.n, out.next(ring)
                ends = columns is part.tiles[-1]
                for slab in slabs:
                    out.note = note
                    word, pitch = kv.locate(place.start, slab.start * groups_per_chunk)
                    feed_a, feed_b = self._multiply(
                        ring,
                        {"l1": p + slab.start, "outer": slab.size, "inner": mt, "outer_stride": 1,
                         "inner_stride": chunks},
                        {"l1": word, "outer": slab.size, "inner": place.size, "inner_stride": 1,
                         "outer_stride": groups_per_chunk * pitch, "group_stride": pitch, "transpose": True},
                        l0c=l0c, mt=mt, nt=nt, kt=slab.size, first=slab is slabs[0], last=slab is slabs[-1],
                        weights=True,
                    )
                    if columns.start == 0 and slab is slabs[0]:
                        feed_a.waits_for(Semaphore.P_READY)
                    if slab is slabs[-1]:
                        drain = out.emit(
                            Opcode.DRAIN_O, l0c=l0c, mt=mt, nt=nt, o=self._o(item) + columns.start // config.lanes,
                            o_pitch=self._workload.head_dim_v // config.lanes,
                            offsets=out.slot("OFFSETS", item.sequence), first=item.first,
                        )
                        drain.waits_for(Semaphore.L0C_READY)
                        out.give(ring, drain)
                        if item.first and item.group0 == 0 and part.opens and columns is part.tiles[0]:
                            out.take("O", drain)
                        if ends and item.last:
                            drain.signals(Semaphore.DRAINED)
                            self._finish(item, part)
                        if ends and part is parts[-1]:
                            out.give("P", drain)
                            if item.frees_block:
                                out.give("KV", feed_b)
                    yield mt * nt * slab.size

    def _multiply(self, ring: str, a: dict[str, int], b: dict[str, int], *, l0c: int, mt: int, nt: int, kt: int,
                  first: bool, last: bool, weights: bool = False) -> tuple[Draft, Draft]:
        """One slab: feed both operands, multiply into ``l0c``, a slot of ``ring``; returns the feeds.

        With ``weights`` a is P.
        """
        out = self._out
        l0a, l0b = out.next("L0A"), self._plan.regions["L0B"].address(out.rings["L0A"].taken)
        feed_a = out.emit(Opcode.FEED_A, l0=l0a, **a)
        feed_b = out.emit(Opcode.FEED_B, l0=l0b, **b)
        mmad = out.emit(Opcode.MMAD, l0a=l0a, l0b=l0b, l0c=l0c, mt=mt, nt=nt, kt=kt, accumulate=not first,
                        weights=weights)
        out.take("L0A", feed_a)
        feed_b.signals(Semaphore.L0_READY)
        mmad.waits_for(Semaphore.L0_READY)
        out.give("L0A", mmad)
        if first:
            out.take(ring, mmad)
        if last:
            mmad.signals(Semaphore.L0C_READY)
        return feed_a, feed_b

    def _finish(self, item: Item, part: Part) -> None:
        """End of a row tile for a part of its columns: normalise and store, with the first one also the LSE."""
        config, workload, out, tile = self._config, self._workload, self._out, item.tile
        out.note = Annotation(item.request, item.index, item.block, "end")
        start, columns = part.tiles[0].start, sum(tile.size for tile in part.tiles)
        halves = self._plan.halves
        beats = halves * columns // config.beat_elements
        slot, lse = out.next("OUT"), out.slot("LSE", item.tile_sequence)
        sinks = {} if self._addresses.sink is None else {"sinks": True, "sink": self._plan.sink_word(tile)}
        normalize = out.emit(
            Opcode.NORMALIZE, o=self._o(item) + start // config.lanes,
            o_pitch=workload.head_dim_v // config.lanes, state=out.slot("STATE", item.tile_sequence),
            out=slot, out_pitch=beats, lse=lse, mt=tile.groups, nt=beats, first=start == 0, wide=halves == 2,
            **(sinks if start == 0 else {}),
        )
        normalize.waits_for(Semaphore.DRAINED)
        normalize.signals(Semaphore.OUT_READY)
        out.take("OUT", normalize)
        if part.closes:
            out.give("O", normalize)
        stores = []
        if start == 0:
            groups = -(-workload.rows // config.m)
            group = self._addresses.request(item.request) * groups + tile.row // config.m
            stores.append(out.emit(Opcode.STORE, address=self._addresses.lse + group * config.axi_data_bytes,
                                   rows=tile.rows if halves == 1 else tile.groups * config.m, out=lse, lse=True))
        row = self._addresses.request(item.request) * workload.rows + tile.row
        stores.append(out.emit(
            Opcode.STORE, address=self._addresses.o + 2 * halves * (row * workload.head_dim_v + start),
            pitch=2 * halves * workload.head_dim_v, rows=tile.rows, cols=halves * columns, out=slot, out_pitch=beats,
        ))
        stores[0].waits_for(Semaphore.OUT_READY)
        out.give("OUT", stores[-1])

    def _o(self, item: Item) -> int:
        return self._out.slot("O", item.tile_sequence) + item.group0 * (
            self._workload.head_dim_v // self._config.lanes)

    def _mask(self, item: Item) -> dict[str, int]:
        """Mask fields of a command on the item's block."""
        workload, first = self._workload, item.keys.start
        length = workload.lengths[item.request]
        if not workload.causal:
            return {"limit": length - first, "heads": 0, "head0": 0}
        if (share := self._plan.share) is not None:  # keys behind it count for what its rows see of its own
            length = share.length - share.keys.start
        return {"limit": length - workload.q_tokens + 1 + item.tile.token - first, "heads": workload.heads,
                "head0": item.tile.head}
