"""Tiler: how a workload is cut for a core, and where every tile lies in its buffers.

Levels, outermost first: request, row tiles resident together, KV block, row tile, sub-tile, slab. A sub-tile
is what one L0C slot holds (keys of a score product, columns of a value product); a slab is what one L0 slot
holds (a range of its reduction).
"""

from amla.rtl.config import CoreConfig
from amla.rtl.isa import SEMAPHORE_MAX

from ..errors import AmlaError
from ..memory.preset import IDEAL, Memory
from ..workload.workload import Workload
from .plan import Piece, Plan, Region, RowTile, split

__all__ = ["PRELOADS", "plan_tiles"]

#: Preload depths: C1 runs this many KV blocks ahead of C2; 0 is the serial baseline.
PRELOADS = (0, 1, 2)

#: L0C fractals of a sub-tile to aim for: long enough to cover the cube's pipeline and to share each operand
#: word among several fractals, short enough for a quick start and tail.
_SUBTILE_FRACTALS = 64

#: Column panels into which Q and the first KV blocks are loaded, so that the cube starts after the first
#: panel, and follows the loads a panel behind.
_PANELS = 4
_MAX_PANELS = 8

#: L0C fractals of the narrowest value sub-tile: they still cover the cube's pipeline.
_NARROW_FRACTALS = 8

_MAX_RESIDENT_TILES = 4
_MAX_L0C_SLOTS = 4
_MAX_OUT_SLOTS = 4
_MAX_STREAM_SLOTS = 6


class _TooSmall(Exception):
    """A buffer cannot hold what the plan needs."""

    def __init__(self, buffer: str, needed: int, available: int):
        super().__init__(buffer)
        self.buffer, self.needed, self.available = buffer, needed, available


def plan_tiles(workload: Workload, config: CoreConfig, *, preload: int = 1, memory: Memory = IDEAL) -> Plan:
    """Cut a workload for a core beside a memory.

    The largest row tile that fits is taken. KV stays in L1 if it can; then come, as L1 allows, sharing of KV
    blocks among row tiles, prefetch of the next block, prefetch of the next queries.

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
    needed = -(-workload.rows // config.m)
    groups = min(needed, config.max_rows // config.m)
    while True:
        try:
            return _Fit(workload, config, memory, preload, groups).plan()
        except _TooSmall as error:
            if groups == 1:
                raise AmlaError(
                    f"{error.buffer} of {config.name} is too small for this workload at preload {preload}: "
                    f"a row tile of {config.m} rows needs {error.needed} bytes, "
                    f"{error.needed - error.available} more than its {error.available}"
                ) from None
        groups = (groups + 1) // 2


class _Fit:
    """Tries to fit row tiles of a number of row groups; raises :class:`_TooSmall`."""

    def __init__(self, workload: Workload, config: CoreConfig, memory: Memory, preload: int, groups: int):
        self._workload, self._config, self._memory, self._preload = workload, config, memory, preload
        tiles = split(-(-workload.rows // config.m), groups)
        self._groups = tiles[0].size
        self._tiles = tuple(self._row_tile(piece) for piece in tiles)
        self._regions: dict[str, Region] = {}
        self._next: dict[str, int] = {}

    def _row_tile(self, piece: Piece) -> RowTile:
        row = piece.start * self._config.m
        rows = min(piece.size * self._config.m, self._workload.rows - row)
        return RowTile(row, rows, piece.size, *divmod(row, self._workload.heads))

    def plan(self) -> Plan:
        config, workload, groups, preload = self._config, self._workload, self._groups, self._preload
        chunks, columns, banks = workload.head_dim // config.k, workload.head_dim_v, config.l1_banks

        # L0C: two slots at least, so that drain and cube overlap. A value sub-tile is a whole number of
        # beats.
        beat_fractals = config.beat_elements // config.n
        self._check("l0c", 2 * groups * beat_fractals)
        self._check("l0b", 2 * beat_fractals)
        # When loading n keys takes longer than computing with them, smaller ones shorten what follows the
        # last load.
        loading = groups * (chunks + columns // config.k) < self._memory.cycles(
            2 * config.n * workload.head_dim, config.axi_data_bytes)
        fractals = _SUBTILE_FRACTALS // 8 if loading else _SUBTILE_FRACTALS
        cap = min(config.l0c_words // (2 * groups), max(fractals // groups, 1))
        value_fractals = max(min(cap, config.l0b_words // 2, columns // config.n) // beat_fractals,
                             1) * beat_fractals
        self._check("l0b", 2 * banks)
        key_fractals = _power_of_two_below(min(cap, config.l0b_words // (2 * banks),
                                               config.kv_block // config.n))
        value_tiles = split(columns, value_fractals * config.n, multiple=config.beat_elements)
        widest = value_tiles[0].size // config.n

        # L0A and L0B: two slots of a slab each. A score slab is a whole number of beats, as it may be loaded
        # alone.
        self._check("l0a", 2 * groups * banks)
        half_a, half_b = config.l0a_words // 2, config.l0b_words // 2
        largest = min(half_a // groups, half_b // key_fractals) // banks * banks
        panels = self._panels(value_tiles[0].size // config.k)
        score_slabs = tuple(Piece(panel.start + slab.start, slab.size)
                            for panel in panels for slab in split(panel.size, largest, multiple=banks))
        value_chunks = min(half_a // groups, half_b // widest, config.kv_block // config.k)
        slab_a = groups * max(value_chunks, max(slab.size for slab in score_slabs))
        slab_b = max(widest * value_chunks, key_fractals * max(slab.size for slab in score_slabs))
        self._ring("L0A", "l0a", 2, slab_a)
        self._ring("L0B", "l0b", 2, slab_b)
        slot = groups * max(key_fractals, widest)
        self._ring("L0C", "l0c", min(config.l0c_words // slot, _MAX_L0C_SLOTS), slot)

        # Per block in flight between C1 and C2: scores and their row maxima, P, row offsets.
        depth = preload + 1
        self._ring("S", "s", depth, groups * (config.kv_block // config.lanes))
        self._ring("ROWMAX", "state", depth, groups)
        self._ring("OFFSETS", "state", depth, groups)

        sharing, resident = self._fit_l1(value_chunks, value_tiles[0].size, key_fractals, score_slabs)
        self._ring("O", "o", sharing, groups * columns // config.lanes)
        self._ring("STATE", "state", min(sharing + preload, self._words("state") // groups), groups)

        units = split(len(value_tiles), max(-(-len(value_tiles) // (SEMAPHORE_MAX // sharing)), 1))
        lse_slots = min(2, self._words("state") // groups)
        self._ring("LSE", "state", lse_slots, groups)
        widest_unit = max(sum(tile.size for tile in value_tiles[unit.start:unit.stop]) for unit in units)
        out_words = groups * widest_unit // config.beat_elements
        self._check("out", out_words)
        # A slot of LSE is free again when its tile's first unit has left OUT.
        out_slots = min(config.out_words // out_words, _MAX_OUT_SLOTS, lse_slots * len(units))
        self._ring("OUT", "out", out_slots, out_words)

        assert sum(panel.size for panel in panels) == chunks
        return Plan(
            config=config, workload=workload, memory=self._memory, preload=preload,
            # C1 ahead of C2 hides the softmax. Where loading is the limit, the cube waits for loads instead, and
            # what it puts off would only come after the last of them.
            ahead=0 if loading and sharing == len(self._tiles) else preload, tiles=self._tiles, resident_tiles=sharing,
            resident=resident, key_tile=key_fractals * config.n, panels=panels, score_slabs=score_slabs,
            value_tiles=value_tiles, value_chunks=value_chunks, units=units,
            tail=self._tail(value_tiles[units[-1].start:], SEMAPHORE_MAX - len(units) * sharing + 1),
            regions=self._regions,
        )

    def _tail(self, tiles: tuple[Piece, ...], most: int) -> tuple[Piece, ...]:
        """Halve the last sub-tile again and again, into at most ``most`` pieces in all or else not at all."""
        beat = self._config.beat_elements
        *pieces, last = tiles
        while (half := last.size // 2 // beat * beat) and self._groups * half >= _NARROW_FRACTALS * self._config.n:
            pieces.append(Piece(last.start, last.size - half))
            last = Piece(last.stop - half, half)
        pieces.append(last)
        return tuple(pieces) if len(pieces) <= most else tiles

    def _panels(self, tile_chunks: int) -> tuple[Piece, ...]:
        """Column panels of about a quarter of the head dimension; no value sub-tile lies in two of them."""
        k = self._config.k
        chunks, v_chunks = self._workload.head_dim // k, self._workload.head_dim_v // k
        tiles = max(chunks // _PANELS // tile_chunks, -(-v_chunks // (_MAX_PANELS * tile_chunks)), 1)
        size = tiles * tile_chunks
        starts = list(range(0, v_chunks, size))
        # The rotary columns join the last panel, or are one of their own when that would make it large.
        if chunks - starts[-1] > 2 * size:
            starts.append(v_chunks)
        return tuple(Piece(start, stop - start)
                     for start, stop in zip(starts, [*starts[1:], chunks], strict=True))

    def _fit_l1(self, value_chunks: int, value_columns: int, key_fractals: int,
                score_slabs: tuple[Piece, ...]) -> tuple[int, bool]:
        """Lay out L1: P first, then Q and KV as well as they fit; return resident tiles and KV residency."""
        config, groups, preload = self._config, self._groups, self._preload
        chunks = self._workload.head_dim // config.k
        banks = config.l1_banks
        p_words = -(-groups * (config.kv_block // config.k) // banks) * banks
        q_words, kv_words = groups * chunks, config.kv_block // config.n * chunks
        o_tiles = config.o_words // (groups * self._workload.head_dim_v // config.lanes)
        self._check("o", groups * self._workload.head_dim_v // config.lanes)
        self._check("state", (1 + preload) * groups)
        most = min(len(self._tiles), o_tiles, self._words("state") // groups - preload, _MAX_RESIDENT_TILES)
        room = config.l1_words - (preload + 1) * p_words

        for allowed in range(most, 0, -1):
            together = split(len(self._tiles), allowed)
            # KV blocks between their C1 and the end of their C2.
            live = 1 + -(-preload // min(piece.size for piece in together))
            sharing = max(piece.size for piece in together)
            for kv_slots, q_slots in ((live + 2, 2 * sharing), (live + 1, 2 * sharing), (live + 1, sharing),
                                      (live, sharing)):
                if q_slots * q_words + kv_slots * kv_words <= room:
                    self._ring("P", "l1", preload + 1, p_words)
                    self._ring("Q", "l1", q_slots, q_words)
                    self._ring("KV", "l1", kv_slots, kv_words)
                    return sharing, True

        score_words = key_fractals * max(slab.size for slab in score_slabs)
        value_words = value_chunks * (config.k // config.n) * (value_columns // config.k)
        slot = -(-max(score_words, value_words) // banks) * banks
        q_slots = 2 if 2 * q_words + 2 * slot <= room else 1
        kv_slots = min((room - q_slots * q_words) // slot, _MAX_STREAM_SLOTS)
        if kv_slots < 1:
            self._check("l1", (preload + 1) * p_words + q_words + slot)
        self._ring("P", "l1", preload + 1, p_words)
        self._ring("Q", "l1", q_slots, q_words)
        self._ring("KV", "l1", kv_slots, slot)
        return 1, False

    def _words(self, buffer: str) -> int:
        return getattr(self._config, f"{buffer}_words")

    def _check(self, buffer: str, words: int) -> None:
        """Raise unless the buffer has this many words."""
        available = self._words(buffer)
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


def _power_of_two_below(value: int) -> int:
    return 1 << (value.bit_length() - 1)
