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

import numpy as np
from amla.rtl.isa import Opcode, Semaphore

from .drafts import Draft, Drafts
from .items import Item, work_items
from .loads import Addresses, Loader
from .order import by_estimated_start
from .plan import Part, Piece, Plan, split
from .program import Annotation, Command

__all__ = ["schedule"]


def schedule(
    plan: Plan, addresses: Addresses, block_table: np.ndarray,
) -> tuple[list[Command], list[Annotation]]:
    """Commands of a plan, HALT last, and what each works on.

    Executed one by one in program order they never block on a semaphore, so that no queue depth can deadlock
    them.

    Parameters
    ----------
    plan:        of the tiler
    addresses:   of the arrays in GM
    block_table: int32 [b, max_blocks]; only the entries in use are read
    """
    drafts = by_estimated_start(_Scheduler(plan, addresses, block_table).drafts(), plan.config, plan.memory)
    return [draft.command() for draft in drafts], [draft.note for draft in drafts]


class _Scheduler:
    """Emits the stages of all items. Each engine's order is final; how the engines mix is settled later."""

    def __init__(self, plan: Plan, addresses: Addresses, block_table: np.ndarray):
        self._plan, self._config, self._workload = plan, plan.config, plan.workload
        self._addresses = addresses
        self._out = Drafts(plan)
        self._loader = Loader(self._out, addresses, block_table)
        self._items = list(work_items(plan))
        self._units: dict[int, set[tuple[int, int]]] = {}

    def drafts(self) -> list[Draft]:
        items, preload, ahead = self._items, self._plan.preload, self._plan.ahead
        for step in range(len(items) + ahead):
            if step < len(items):
                self._load(items[step])
                self._scores(items[step])
                self._softmax(items[step])
            if preload == 0 and step + 1 < len(items):
                self._load(items[step + 1])
            if step >= ahead:
                self._values(items[step - ahead])
            if preload == 0:
                self._out.note = Annotation()
                self._out.emit(Opcode.FENCE)
        self._out.note = Annotation()
        self._out.emit(Opcode.HALT)
        self._loader.close()
        return self._out.close()

    def _load(self, item: Item) -> None:
        """Load the block if the item is its first user; a plan that streams loads slab by slab instead."""
        if self._plan.resident and item.loads_block and item.sequence not in self._units:
            self._out.note = Annotation(item.request, item.index, item.block, "load")
            following = self._items[item.sequence:item.sequence + self._plan.resident_tiles]
            together = [other for other in following if other.block_sequence == item.block_sequence]
            key_tiles = self._plan.key_tiles(item.keys.size)
            self._units[item.sequence] = self._loader.load_resident(together, key_tiles)

    def _scores(self, item: Item) -> None:
        """C1: S = Q K^T, sub-tile of keys by sub-tile."""
        plan, config, out = self._plan, self._config, self._out
        out.note = Annotation(item.request, item.index, item.block, "C1")
        mt, sub_tiles = item.tile.groups, plan.key_tiles(item.keys.size)
        units = self._units.get(item.sequence, set())
        q, kv = self._loader.q_layout(item), self._loader.kv_layout(item)
        for index, keys in enumerate(sub_tiles):
            nt, l0c = keys.size // config.n, out.next("L0C")
            for slab in plan.score_slabs:
                if plan.resident:
                    panel = kv.panel(slab.start)
                    wait = slab.start == kv.panels[panel].start and (index, panel) in units
                    word, pitch = kv.locate(slab.start, keys.start // config.n)
                else:
                    wait, with_q = True, item.first and index == 0 and slab.start == 0
                    word, pitch = self._loader.load_streamed(item, keys, slab, with_q=with_q)
                q_word, q_pitch = q.locate(slab.start)
                feed_a, feed_b = self._multiply(
                    {"l1": q_word, "outer": slab.size, "inner": mt, "outer_stride": 1,
                     "inner_stride": q_pitch},
                    {"l1": word, "outer": slab.size, "inner": nt, "outer_stride": 1, "inner_stride": pitch},
                    l0c=l0c, mt=mt, nt=nt, kt=slab.size, first=slab is plan.score_slabs[0],
                    last=slab is plan.score_slabs[-1],
                )
                if wait:
                    feed_a.waits_for(Semaphore.KV_READY)
                    self._loader.consume(feed_a)
                if not plan.resident:
                    out.give("KV", feed_b)
            drain = out.emit(
                Opcode.DRAIN_S, l0c=l0c, mt=mt, nt=nt, s_pitch=config.kv_block // config.lanes,
                s=out.slot("S", item.sequence) + keys.start // config.lanes,
                rowmax=out.slot("ROWMAX", item.sequence), first=index == 0, **self._mask(item, keys.start),
            )
            drain.waits_for(Semaphore.L0C_READY)
            out.give("L0C", drain)
            if index == 0:
                out.take("S", drain)
        if item.last:
            out.give("Q", feed_a)
        drain.signals(Semaphore.S_READY)

    def _softmax(self, item: Item) -> None:
        """V1: S becomes P; row state and row offsets."""
        config, out = self._config, self._out
        out.note = Annotation(item.request, item.index, item.block, "V1")
        softmax = out.emit(
            Opcode.SOFTMAX, s=out.slot("S", item.sequence), s_pitch=config.kv_block // config.lanes,
            rowmax=out.slot("ROWMAX", item.sequence), state=out.slot("STATE", item.tile_sequence),
            offsets=out.slot("OFFSETS", item.sequence), mt=item.tile.groups,
            kt=self._plan.padded_keys(item.keys.size) // config.k, p=out.slot("P", item.sequence),
            first=item.first, **self._mask(item, 0),
        )
        softmax.waits_for(Semaphore.S_READY)
        softmax.signals(Semaphore.P_READY)
        out.give("S", softmax)
        out.take("P", softmax)
        out.take("OFFSETS", softmax)

    def _values(self, item: Item) -> None:
        """C2: O = rescaled O + P V, sub-tile of columns by sub-tile; after the rows' last block their end."""
        plan, config, out = self._plan, self._config, self._out
        note = Annotation(item.request, item.index, item.block, "C2")
        mt, chunks = item.tile.groups, plan.padded_keys(item.keys.size) // config.k
        groups_per_chunk = config.k // config.n
        kv, p = self._loader.kv_layout(item), out.slot("P", item.sequence)
        slabs = split(chunks, plan.value_chunks)
        for part in plan.parts(final=item is self._items[-1]):
            for columns in part.tiles:
                place = Piece(columns.start // config.k, columns.size // config.k)
                nt, l0c = columns.size // config.n, out.next("L0C")
                for slab in slabs:
                    out.note = note
                    if plan.resident:
                        word, pitch = kv.locate(place.start, slab.start * groups_per_chunk)
                    else:
                        keys = Piece(slab.start * config.k, slab.size * config.k)
                        word, pitch = self._loader.load_streamed(item, keys, place, with_q=False)
                    feed_a, feed_b = self._multiply(
                        {"l1": p + slab.start, "outer": slab.size, "inner": mt, "outer_stride": 1,
                         "inner_stride": chunks},
                        {"l1": word, "outer": slab.size, "inner": place.size, "inner_stride": 1,
                         "outer_stride": groups_per_chunk * pitch, "group_stride": pitch, "transpose": True},
                        l0c=l0c, mt=mt, nt=nt, kt=slab.size, first=slab is slabs[0], last=slab is slabs[-1],
                    )
                    if columns.start == 0 and slab is slabs[0]:
                        feed_a.waits_for(Semaphore.P_READY)
                    if not plan.resident:
                        feed_a.waits_for(Semaphore.KV_READY)
                        out.give("KV", feed_b)
                drain = out.emit(
                    Opcode.DRAIN_O, l0c=l0c, mt=mt, nt=nt, o=self._o(item) + columns.start // config.lanes,
                    o_pitch=self._workload.head_dim_v // config.lanes,
                    offsets=out.slot("OFFSETS", item.sequence), first=item.first,
                )
                drain.waits_for(Semaphore.L0C_READY)
                out.give("L0C", drain)
                if item.first and part.opens and columns is part.tiles[0]:
                    out.take("O", drain)
            if item.last:
                drain.signals(Semaphore.O_READY)
                self._finish(item, part)
        out.give("P", feed_a)
        out.give("OFFSETS", drain)
        if plan.resident and item.frees_block:
            out.give("KV", feed_b)

    def _multiply(self, a: dict[str, int], b: dict[str, int], *, l0c: int, mt: int, nt: int, kt: int,
                  first: bool, last: bool) -> tuple[Draft, Draft]:
        """One slab: feed both operands, multiply into ``l0c``; returns the feeds."""
        out = self._out
        l0a, l0b = out.next("L0A"), self._plan.regions["L0B"].address(out.rings["L0A"].taken)
        feed_a = out.emit(Opcode.FEED_A, l0=l0a, **a)
        feed_b = out.emit(Opcode.FEED_B, l0=l0b, **b)
        mmad = out.emit(Opcode.MMAD, l0a=l0a, l0b=l0b, l0c=l0c, mt=mt, nt=nt, kt=kt, accumulate=not first)
        out.take("L0A", feed_a)
        feed_b.signals(Semaphore.L0_READY)
        mmad.waits_for(Semaphore.L0_READY)
        out.give("L0A", mmad)
        if first:
            out.take("L0C", mmad)
        if last:
            mmad.signals(Semaphore.L0C_READY)
        return feed_a, feed_b

    def _finish(self, item: Item, part: Part) -> None:
        """End of a row tile for a part of its columns: normalise and store, with the first one also the LSE."""
        config, workload, out, tile = self._config, self._workload, self._out, item.tile
        out.note = Annotation(item.request, item.index, item.block, "end")
        start, columns = part.tiles[0].start, sum(tile.size for tile in part.tiles)
        beats = columns // config.beat_elements
        slot, lse = out.next("OUT"), out.slot("LSE", item.tile_sequence)
        normalize = out.emit(
            Opcode.NORMALIZE, o=self._o(item) + start // config.lanes,
            o_pitch=workload.head_dim_v // config.lanes, state=out.slot("STATE", item.tile_sequence),
            out=slot, out_pitch=beats, lse=lse, mt=tile.groups, nt=beats, first=start == 0,
        )
        normalize.waits_for(Semaphore.O_READY)
        normalize.signals(Semaphore.OUT_READY)
        out.take("OUT", normalize)
        if part.closes:
            out.give("O", normalize)
        stores = []
        if start == 0:
            groups = -(-workload.rows // config.m)
            group = item.request * groups + tile.row // config.m
            stores.append(out.emit(Opcode.STORE, address=self._addresses.lse + group * config.axi_data_bytes,
                                   rows=tile.rows, out=lse, lse=True))
        row = item.request * workload.rows + tile.row
        stores.append(out.emit(
            Opcode.STORE, address=self._addresses.o + 2 * (row * workload.head_dim_v + start),
            pitch=2 * workload.head_dim_v, rows=tile.rows, cols=columns, out=slot, out_pitch=beats,
        ))
        stores[0].waits_for(Semaphore.OUT_READY)
        out.give("OUT", stores[-1])

    def _o(self, item: Item) -> int:
        return self._out.slot("O", item.tile_sequence)

    def _mask(self, item: Item, column: int) -> dict[str, int]:
        """Mask fields of a command whose first column is the block's ``column``."""
        workload, first = self._workload, item.keys.start + column
        length = workload.lengths[item.request]
        if not workload.causal:
            return {"limit": length - first, "heads": 0, "head0": 0}
        return {"limit": length - workload.q_tokens + 1 + item.tile.token - first, "heads": workload.heads,
                "head0": item.tile.head}
