"""Tiler: how a workload is cut for a core, and where every tile lies in its buffers.

Levels, outermost first: request, row tiles resident together, KV block, row tile, sub-tile, slab. A sub-tile
is what one L0C slot holds (the scores of a block, or columns of a value product); a slab is what one L0 slot holds
(a range of its reduction).

The KV block is the tiler's choice, up to the core's ``kv_block``: as rescaling is free, a small block costs
nothing but the drain of O, and leaves L1 to keys that are on their way.
"""

from math import ceil

from amla.rtl.config import CoreConfig
from amla.rtl.isa import SEMAPHORE_MAX, Engine

from ..errors import AmlaError
from ..memory.preset import IDEAL, Memory
from ..workload.workload import Workload
from .key_cache import KeyCache
from .order import latencies, multiply_cycles
from .plan import Piece, Plan, Region, RowTile, Share, split

__all__ = ["PRELOADS", "plan_tiles"]

#: Preload depths: C1 runs this many KV blocks ahead of C2; 0 is the serial baseline.
PRELOADS = (0, 1, 2)

#: L0C fractals of a value sub-tile to aim for: long enough to cover the cube's pipeline and to share each operand
#: word among several fractals, short enough for a quick start and tail.
_SUBTILE_FRACTALS = 64

#: Column panels into which Q and the first KV blocks are loaded, so that the cube starts after the first
#: panel, and follows the loads a panel behind.
_PANELS = 9

#: L0C fractals of the narrowest value sub-tile: they still cover the cube's pipeline.
_NARROW_FRACTALS = 8

_MAX_RESIDENT_TILES = 4
_MAX_L0_SLOTS = 4
_MAX_VALUE_SLOTS = 4
_MAX_OUT_SLOTS = 4
_MAX_KV_SLOTS = 12

#: Cycles that a drain command costs beyond its words: it starts when the last one has left the pipeline.
_DRAIN_GAP = 16

#: Bytes of commands per slab or sub-tile, about nine each as packed: two feeds and a product, or a drain.
_SLAB_BYTES, _DRAIN_BYTES = 27, 9

#: What a smaller KV block must save at least, as a share: every block costs commands and hand-overs.
_MORE_BLOCKS = 0.001

#: What smaller row tiles must save at least, as a share: they feed every key once more, in shorter products.
_SMALLER = 0.05


class _TooSmall(Exception):
    """A buffer cannot hold what the plan needs."""

    def __init__(self, buffer: str, needed: int, available: int):
        super().__init__(buffer)
        self.buffer, self.needed, self.available = buffer, needed, available


def plan_tiles(workload: Workload, config: CoreConfig, *, preload: int = 1, memory: Memory = IDEAL,
               kv_block: int | None = None, listed: bool = False, share: Share | None = None) -> Plan:
    """Cut a workload for a core beside a memory.

    Row tiles and KV block are those of the lowest estimated time, among those that fit.

    Parameters
    ----------
    memory:   beside the core; its latency and rate bound what L1 must hold ahead
    kv_block: keys of a KV block instead of the best; at most the core's
    listed:   keys come by lists
    share:    the workload is one request with so many keys, of which only these rows are computed

    Raises
    ------
    AmlaError: the workload does not suit the core, or a buffer is too small: says which, by how many bytes.
    """
    if preload not in PRELOADS:
        raise AmlaError(f"preload must be one of {', '.join(map(str, PRELOADS))}, not {preload!r}")
    for key in ("head_dim", "head_dim_v"):
        value = getattr(workload, key)
        if value % config.beat_elements:
            raise AmlaError(f"{key} must be a multiple of {config.beat_elements}, the elements of a beat of "
                            f"{config.name}, not {value!r}")
    allowed = range(config.k, config.kv_block + 1, config.k)
    if kv_block is not None and (type(kv_block) is not int or kv_block not in allowed):
        raise AmlaError(f"kv_block must be a multiple of k = {config.k}, from {config.k} to the {config.kv_block} of "
                        f"{config.name}, not {kv_block!r}")
    rows = Piece(0, workload.rows) if share is None else share.rows
    groups = min(-(-rows.size // config.m), config.max_rows // config.m)
    longest = max(max(workload.lengths), 1)
    largest = -(-longest // config.k) * config.k
    blocks = [block for block in allowed if block <= largest] if kv_block is None else [kv_block]
    fits: list[_Fit] = []
    while True:
        for block in blocks:
            last_resort = groups == 1 and block == blocks[0] and not fits
            # Slots of Q are as large as the largest panel: one panel of all columns takes the least of L1.
            for panels in (_PANELS, 1) if last_resort else (_PANELS,):
                try:
                    fits.append(_Fit(workload, config, preload, groups, block, panels, memory, listed, rows, share))
                    break
                except _TooSmall as error:
                    if last_resort and panels == 1:
                        keys = "" if kv_block is None else f" and a KV block of {kv_block} keys"
                        raise AmlaError(
                            f"{error.buffer} of {config.name} is too small for this workload at preload {preload}: "
                            f"a row tile of {config.m} rows{keys} needs {error.needed} bytes, "
                            f"{error.needed - error.available} more than its {error.available}"
                        ) from None
        if groups == 1:
            break
        groups = (groups + 1) // 2
    least = min(fit.cycles for fit in fits)
    groups = max(fit.groups for fit in fits if fit.cycles <= least * (1 + _SMALLER))
    fits = [fit for fit in fits if fit.groups == groups]
    least = min(fit.cycles for fit in fits)
    return max((fit for fit in fits if fit.cycles <= least * (1 + _MORE_BLOCKS)), key=lambda fit: fit.block).plan()


class _Fit:
    """A row tile of a number of row groups and a KV block, fitted to the buffers; or :class:`_TooSmall`.

    ``panels``: most column panels, _PANELS or 1.

    ``cycles``: estimated, of the steady state of all requests and what follows the last load.
    """

    def __init__(self, workload: Workload, config: CoreConfig, preload: int, groups: int, block: int, panels: int,
                 memory: Memory, listed: bool, rows: Piece, share: Share | None):
        self._workload, self._config, self._preload, self._memory = workload, config, preload, memory
        self._share, self._most_panels = share, panels
        self._halves = 2 if share is not None and share.partial else 1
        self._tiles = tuple(RowTile.of(Piece(rows.start // config.m + piece.start, piece.size), workload, config)
                            for piece in split(-(-rows.size // config.m), groups))
        self.groups = self._tiles[0].groups
        self.block = block
        self._chunks, self._value_chunks = workload.head_dim // config.k, block // config.k
        cache = KeyCache.of(workload)
        self._whole = listed or cache.flag is not None
        self._key_bytes = cache.gathered_bytes(config.axi_data_bytes) if listed else cache.key_bytes
        self._regions: dict[str, Region] = {}
        self._next: dict[str, int] = {}
        self._fit_l0()
        self._fit_l1()
        self._fit_rest()
        self.cycles, self._bound = self._estimate()

    def _fit_l0(self) -> None:
        """L0A, L0B, L0C: panels, slabs and sub-tiles.

        L0C holds two slots of scores, if it can, and two or more of values, so that drain and cube overlap.
        """
        config, groups, banks = self._config, self.groups, self._config.l1_banks
        per_chunk = config.k // config.n  # fractals across a chunk of columns
        scores = groups * self.block // config.n
        least = 2 * groups * per_chunk * banks  # a value sub-tile is a whole number of beats
        score_slots = min(self._preload + 1, 2, max((config.l0c_words - least) // scores, 1))
        self._check("l0c", score_slots * scores + least)
        self._check("l0a", 2 * groups * banks)
        half_a, half_b = config.l0a_words // 2, config.l0b_words // 2
        self._check("l0b", 2 * banks * max(per_chunk, self.block // config.n))
        room = (config.l0c_words - score_slots * scores) // (2 * groups * per_chunk)
        widest = min(room, max(_SUBTILE_FRACTALS // (groups * per_chunk), 1), half_b // per_chunk,
                     self._workload.head_dim_v // config.k) // banks * banks
        if self._halves == 2:  # four of them in OUT: a store holds its place until memory has answered
            widest = min(widest, config.out_words // (8 * groups) * config.beat_elements // config.k // banks * banks)
        widest = max(widest, banks)
        self.value_tiles = split(self._workload.head_dim_v, widest * config.k, multiple=config.beat_elements)
        widest = self.value_tiles[0].size // config.k
        self.panels = self._panels(widest) if self._most_panels > 1 else (Piece(0, self._chunks),)
        # A score slab is a whole number of beats, as it may be loaded alone.
        largest = min(half_a // groups, half_b // (self.block // config.n)) // banks * banks
        self.score_slabs = tuple(Piece(panel.start + slab.start, slab.size)
                                 for panel in self.panels for slab in split(panel.size, largest, multiple=banks))
        self._value_chunks = min(half_a // groups, half_b // (widest * per_chunk), self.block // config.k)
        slab = max(slab.size for slab in self.score_slabs)
        slot_a = groups * max(self._value_chunks, slab)
        slot_b = max(widest * per_chunk * self._value_chunks, self.block // config.n * slab)
        slots = min(config.l0a_words // slot_a, config.l0b_words // slot_b, _MAX_L0_SLOTS)
        self._ring("L0A", "l0a", slots, slot_a)
        self._ring("L0B", "l0b", slots, slot_b)
        self._ring("SCORES", "l0c", score_slots, scores)
        values = groups * widest * per_chunk
        self._ring("VALUES", "l0c", min((config.l0c_words - self._next["L0C"]) // values, _MAX_VALUE_SLOTS), values)

    def _panels(self, tile_chunks: int) -> tuple[Piece, ...]:
        """Column panels of a few chunks; no value sub-tile lies in two of them."""
        k = self._config.k
        chunks, v_chunks = self._chunks, self._workload.head_dim_v // k
        tiles = max(chunks // _PANELS // tile_chunks, -(-v_chunks // ((_PANELS - 1) * tile_chunks)), 1)
        size = tiles * tile_chunks
        starts = list(range(0, v_chunks, size))
        # The rotary columns join the last panel, or are one of their own when that would make it large.
        if chunks - starts[-1] > size * 3 // 2:
            starts.append(v_chunks)
        return tuple(Piece(start, stop - start)
                     for start, stop in zip(starts, [*starts[1:], chunks], strict=True))

    def _fit_l1(self) -> None:
        """Lay out L1: P, then as many row tiles together as O and L1 hold, Q, and all that is left for KV blocks."""
        config, groups, preload = self._config, self.groups, self._preload
        banks = config.l1_banks
        o_words = groups * self._workload.head_dim_v // config.lanes
        self._check("o", o_words)
        self._check("state", (1 + preload) * groups)
        p_words = -(-groups * (self.block // config.k) // banks) * banks
        kv_words = self.block // config.n * self._chunks
        panel = groups * max(panel.size for panel in self.panels)
        most = min(len(self._tiles), config.o_words // o_words, config.state_words // groups - preload,
                   _MAX_RESIDENT_TILES, SEMAPHORE_MAX // len(self.panels))
        room = config.l1_words - (preload + 1) * p_words
        for allowed in range(most, 0, -1):
            together = split(len(self._tiles), allowed)
            self.sharing = max(piece.size for piece in together)
            least = min(piece.size for piece in together)
            q_slots = self.sharing * len(self.panels)
            # C2 of an item ends while the C1 two items later runs, or, pressed, before it begins.
            for self.pressed in (False, True) if preload else (True,):
                live = 1 + -(-(preload + (not self.pressed)) // least)
                kv_slots = min((room - q_slots * panel) // kv_words, _MAX_KV_SLOTS)
                if kv_slots >= live + (allowed > 1 or not self.pressed):
                    break
                if kv_slots >= live and allowed == 1:
                    break
            else:
                continue
            break
        else:
            self._check("l1", (preload + 1) * p_words + q_slots * panel + live * kv_words)
        self._live = live
        spare = (room - q_slots * panel - kv_slots * kv_words) // panel
        q_slots = min(q_slots + spare, 2 * q_slots, SEMAPHORE_MAX - len(self.panels))
        self._ring("P", "l1", preload + 1, p_words)
        self._ring("Q", "l1", q_slots, panel)
        self._ring("KV", "l1", kv_slots, kv_words)

    def _fit_rest(self) -> None:
        """S, O, row state and OUT."""
        config, groups, preload, sharing = self._config, self.groups, self._preload, self.sharing
        s_words = groups * (self.block // config.lanes)
        s_slots = max(min(preload + 1, config.s_words // s_words), 1)
        self._ring("S", "s", s_slots, s_words)
        self._ring("ROWMAX", "state", s_slots, groups)
        self._ring("OFFSETS", "state", preload + 1, groups)
        self._ring("O", "o", sharing, groups * self._workload.head_dim_v // config.lanes)
        self._ring("STATE", "state", min(sharing + preload, config.state_words // groups), groups)
        tiles = len(self.value_tiles)
        self.units = split(tiles, max(-(-tiles // (SEMAPHORE_MAX // sharing)), 1))
        lse_slots = min(2, config.state_words // groups)
        self._ring("LSE", "state", lse_slots, groups)
        widest = max(sum(tile.size for tile in self.value_tiles[unit.start:unit.stop]) for unit in self.units)
        out_words = groups * widest * self._halves // config.beat_elements
        self._check("out", out_words)
        # A slot of LSE is free again when its tile's first unit has left OUT.
        self._ring("OUT", "out", min(config.out_words // out_words, _MAX_OUT_SLOTS, lse_slots * len(self.units)),
                   out_words)

    def _block_cycles(self, keys: int) -> dict[str, float]:
        """Cycles of a row tile's block by what they are spent on."""
        config, groups = self._config, self.groups
        padded = max(-(-keys // config.k), 1) * config.k
        columns, tiles = self._workload.head_dim_v, len(self.value_tiles)
        fractals = groups * (padded + columns) // config.n
        commands = (len(self.score_slabs) + tiles) * _SLAB_BYTES + (tiles + 1) * _DRAIN_BYTES
        return {
            "cube": multiply_cycles(groups * padded // config.n, self._chunks) + sum(
                multiply_cycles(groups * tile.size // config.n, padded // config.k) for tile in self.value_tiles),
            "drain of O": fractals * config.n // config.lanes + (tiles + 1) * _DRAIN_GAP,
            "feed": (groups + padded // config.n) * self._chunks + (groups * tiles + columns // config.n)
            * (padded // config.k),
            "memory": ((keys * self._key_bytes / self.sharing + commands)
                       / self._memory.sustained(config.axi_data_bytes)),
            "L1": keys * self._workload.head_dim / config.beat_elements / self.sharing + groups * (padded // config.k),
        }

    def _estimate(self) -> tuple[float, str]:
        """Cycles of all blocks, and what bounds a whole one."""
        whole = self._block_cycles(self.block)
        if self._preload:
            whole["softmax"] = self._lag() / self._preload
        bound = max(whole, key=whole.__getitem__)
        cycles = whole[bound] if self._preload else whole[bound] + self._lag()
        # A slot is taken from its load's first address to the end of its C2.
        ahead = self._regions["KV"].slots - self._live
        wait = self._memory.latency + latencies(self._config)[Engine.LOAD] + whole["memory"] * self.sharing
        if ahead * cycles * self.sharing < wait:
            per_block = (wait + self._live * cycles * self.sharing) / (ahead + self._live) / self.sharing
            cycles, bound = max(cycles, per_block), "memory latency"
        total = 0.0
        for length in self._workload.lengths:
            full, rest = divmod(length, self.block)
            total += full * cycles + (max(self._block_cycles(rest).values()) if rest or not full else 0)
        total *= len(self._tiles)
        total += whole["cube"] + self._lag()  # what follows the last load
        return total, bound

    def _lag(self) -> int:
        """Cycles from the end of C1 to the P of its block: a drain before it, its own, the softmax."""
        config, groups = self._config, self.groups
        drains = groups * (self.block + self.value_tiles[0].size) // config.lanes
        softmax = groups * self.block // config.lanes
        latency = sum(latencies(config)[engine] for engine in (Engine.CUBE, Engine.DRAIN, Engine.VECTOR, Engine.FEED))
        return latency + drains + _DRAIN_GAP + softmax

    def plan(self) -> Plan:
        """The plan."""
        config, workload = self._config, self._workload
        whole = self._block_cycles(self.block)
        cube = whole["cube"]
        lag = self._lag() + int((self._preload - 1) * cube) if self._preload else 0
        slots = self._regions["KV"].slots
        why = (f"KV blocks of {self.block} keys (at most {config.kv_block}): "
               + ", ".join(f"{name} {cycles:,.0f}" for name, cycles in whole.items())
               + f" cycles a block and row tile, bound by {self._bound}; {slots} of them in L1, {self._live} in use")
        return Plan(
            config=config, workload=workload, memory=self._memory, preload=self._preload, kv_block=self.block, why=why,
            lag=lag, pressed=self.pressed, tiles=self._tiles, resident_tiles=self.sharing, panels=self.panels,
            early_blocks=self._early_blocks(whole["memory"], cube),
            score_slabs=self.score_slabs, value_tiles=self.value_tiles, value_chunks=self._value_chunks,
            units=self.units,
            tail=self._tail(self.value_tiles[self.units[-1].start:],
                            SEMAPHORE_MAX - len(self.units) * self.sharing + 1),
            regions=self._regions, share=self._share,
        )

    def _early_blocks(self, memory: float, cube: float) -> int:
        """KV blocks until memory or the cube is one ahead of the other, as far as the tokens of their panels go.

        The serial baseline waits for whole stages: only its first block comes in panels.
        """
        if self._whole:
            return 0
        if not self._preload:
            return 1
        slots, panels = self._regions["KV"].slots, len(self.panels)
        most = max(self._workload.lengths) // self.block + 1
        if slots * panels > SEMAPHORE_MAX:
            most = min(most, (SEMAPHORE_MAX - slots) // (panels - 1))
        return min(1 + ceil(memory / max(abs(cube - memory), 1)), most)

    def _tail(self, tiles: tuple[Piece, ...], most: int) -> tuple[Piece, ...]:
        """Halve the last sub-tile again and again, into at most ``most`` pieces in all or else not at all."""
        beat = self._config.beat_elements
        *pieces, last = tiles
        while (half := last.size // 2 // beat * beat) and self.groups * half >= _NARROW_FRACTALS * self._config.n:
            pieces.append(Piece(last.start, last.size - half))
            last = Piece(last.stop - half, half)
        pieces.append(last)
        return tuple(pieces) if len(pieces) <= most else tiles

    def _check(self, buffer: str, words: int) -> None:
        """Raise unless the buffer has this many words."""
        available = getattr(self._config, f"{buffer}_words")
        if words > available:
            if buffer == "state":
                rows = self._config.m
                raise _TooSmall("row state (state_rows, counted in rows)", words * rows, available * rows)
            size = getattr(self._config, f"{buffer}_bytes")
            raise _TooSmall(f"{buffer}_bytes", words * size // available, size)

    def _ring(self, name: str, buffer: str, slots: int, words: int) -> None:
        """Place a ring of slots behind the others of its memory; row-state memories are one per ring."""
        memory = name if buffer == "state" else buffer.upper()
        base = self._next.get(memory, 0)
        self._check(buffer, base + slots * words)
        self._regions[name] = Region(name, memory, base, slots, words)
        self._next[memory] = base + slots * words
