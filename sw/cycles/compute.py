"""Feed, cube, drain and vector engine, a cycle of each; see their docstrings in ``rtl/engines``."""

from amla.rtl.isa import Engine, Opcode
from amla.rtl.issue.dispatch import MAX_UNFINISHED

from .state import Fifo, compiled, pop, push

__all__ = ["accept", "step_cube", "step_drain", "step_feed", "step_vector"]

_FEED, _CUBE, _DRAIN, _VECTOR = (int(engine) for engine in (Engine.FEED, Engine.CUBE, Engine.DRAIN, Engine.VECTOR))
_NORMALIZE, _MERGE = int(Opcode.NORMALIZE), int(Opcode.MERGE)

#: States of the walk of MERGE.
_ROW, _RUN, _FOLD, _PAUSE, _CLOSE = range(5)


@compiled
def accept(core, engine, cycle):
    """The command that the engine's queue hands over in this cycle, -1 if none."""
    r = core.registers[0]
    if not r.holds[engine] or r.accepted[engine] - r.finished[engine] + r.done[engine] >= MAX_UNFINISHED:
        return -1
    command = core.order[engine, r.accepted[engine]]
    r.accepts[engine] = 1
    r.accepted[engine] += 1
    core.start[command] = cycle
    return command


@compiled
def _completes(core, engine, cycle):
    """``done`` comes in ``cycle``."""
    push(core.fifos[Fifo.DONE + engine], 0, cycle)


@compiled
def step_feed(core, cycle):
    r, size = core.registers[0], core.sizes[0]
    last = False
    if r.feed >= 0:
        transposes = core.table[r.feed].flag
        # A block to transpose begins at a block boundary of the ring.
        if transposes and r.feed_left % size.feed_group == 0 and r.feed_head % size.feed_group != 0:
            r.stalls[_FEED] = 1
        else:
            r.feed_left -= 1
            last = r.feed_left == 0
        r.feed_head += 1
        if last:
            _completes(core, _FEED, cycle + size.feed_group + 2)
            r.feed = -1
    if r.feed < 0:
        r.feed = accept(core, _FEED, cycle)
        if r.feed >= 0:
            r.feed_left = core.table[r.feed].count


@compiled
def step_cube(core, cycle):
    r, size = core.registers[0], core.sizes[0]
    r.cube_bank = -1  # of L0C, that the cube reads
    if r.cube >= 0:
        command = core.table[r.cube]
        words = command.mt * command.nt
        word = command.target + r.cube_word
        if cycle < core.issued[word] + size.cube + 2:
            r.stalls[_CUBE] = 1
        else:
            r.cube_active += 1
            core.issued[word] = cycle
            if command.flag or r.cube_k > 0:
                r.cube_bank = word & 1
            r.cube_word += 1
            if r.cube_word == words:
                r.cube_word = 0
                r.cube_k += 1
                if r.cube_k == command.kt:
                    _completes(core, _CUBE, cycle + size.cube + 2)
                    r.cube = -1
    if r.cube < 0:
        r.cube = accept(core, _CUBE, cycle)
        r.cube_word, r.cube_k = 0, 0


@compiled
def step_drain(core, cycle):
    """After cube and vector engine, which go first at the banks of L0C and O."""
    r, size = core.registers[0], core.sizes[0]
    if r.drain >= 0:
        command = core.table[r.drain]
        last_group = r.drain_group == size.drain_groups - 1
        last_column = last_group and r.drain_column == command.nt - 1
        last = last_column and r.drain_row == command.mt - 1
        to_o, row_start = command.flag, r.drain_group == 0 and r.drain_column == 0
        reads_o = to_o and not command.first
        source = r.drain_fractal + r.drain_loaded
        bank_free = r.cube_bank != source & 1
        rows = len(core.drained) - core.sizes[0].state_words
        if to_o:
            hazard = cycle < core.drained[r.drain_target] + size.drain_o + 1
        else:
            hazard = row_start and not command.first and cycle < core.drained[rows + command.state + r.drain_row] + 3
        issues = (not hazard and (r.drain_loaded or bank_free)
                  and (not reads_o or r.vector_bank != r.drain_target & 1))
        fetches = source < len(core.issued) and bank_free and (
            not r.drain_loaded or (issues and last_group and not last))
        if issues and last_group:
            r.drain_loaded = r.drain_loaded and fetches
        elif fetches:
            r.drain_loaded = 1
        if not issues:
            r.stalls[_DRAIN] = 1
        else:
            if to_o:
                core.drained[r.drain_target] = cycle
            else:
                core.drained[rows + command.state + r.drain_row] = cycle
            r.drain_group += 1
            r.drain_target += 1
            if last_group:
                r.drain_group = 0
                r.drain_column += 1
                r.drain_fractal += 1
            if last_column:
                r.drain_column = 0
                r.drain_row += 1
                r.drain_row_target += command.target_pitch
                r.drain_target = r.drain_row_target
            if last:
                _completes(core, _DRAIN, cycle + size.drain + 1)
                r.drain = -1
    if r.drain < 0:
        r.drain = accept(core, _DRAIN, cycle)
        if r.drain >= 0:
            command = core.table[r.drain]
            r.drain_group, r.drain_column, r.drain_row = 0, 0, 0
            r.drain_fractal = command.source
            r.drain_target = r.drain_row_target = command.target


@compiled
def step_vector(core, cycle):
    """A row pass runs by itself: when its row groups are ready is known when it begins."""
    r, size = core.registers[0], core.sizes[0]
    words = core.fifos[Fifo.P_WORDS]
    r.p_valid = words[1] > 0 and words[4 + 2 * words[0]] == cycle
    if r.p_valid:
        pop(words)
    r.vector_bank = -1  # of O, that the vector engine reads
    if r.vector >= 0:
        if cycle == r.vector_finish:
            r.vector = -1
            _completes(core, _VECTOR, cycle + 1)
        elif r.vector_row < core.table[r.vector].mt and cycle >= r.vector_begin:
            if core.table[r.vector].opcode == _MERGE:
                _step_merge(core, cycle)
            else:
                _step_elements(core, cycle)
        return
    r.vector = accept(core, _VECTOR, cycle)
    if r.vector >= 0:
        command = core.table[r.vector]
        r.vector_begin, r.vector_finish = cycle + 2, -1
        r.vector_row, r.vector_left, r.vector_source = 0, command.nt * command.groups, command.source
        # A row group's rows, one a cycle, go through the row pass before its elements; those of MERGE go three times.
        r.vector_period = size.m
        if command.opcode == _MERGE:
            r.vector_period = command.kt * (1 + 2 * size.slots) + size.merge_group + (
                size.merge_sink if command.flag else 0)
            r.vector_ready = cycle + 3
            r.walk, r.walk_at, r.walk_item, r.walk_split = _ROW, 0, 0, 0
        elif command.opcode == _NORMALIZE:
            r.vector_ready = cycle + 5 + size.row_result + (size.row_sink if command.flag else 0)
        else:
            r.vector_ready = cycle + 5 + size.row_update


@compiled
def _row_group_ready(r, command, cycle):
    return not command.first or cycle >= r.vector_ready + r.vector_period * (r.vector_row + 1)


@compiled
def _step_elements(core, cycle):
    """A lane group of SOFTMAX or NORMALIZE."""
    r, size = core.registers[0], core.sizes[0]
    command = core.table[r.vector]
    per_row = command.nt * command.groups
    if r.vector_left == per_row and not _row_group_ready(r, command, cycle):
        return
    ends = command.opcode == _NORMALIZE
    if ends:
        r.vector_bank = (r.vector_source + (per_row - r.vector_left) // command.count) & 1
    r.vector_left -= 1
    if not ends and r.vector_left % command.groups == 0:
        push(core.fifos[Fifo.P_WORDS], 0, cycle + size.vector_p)
    if r.vector_left == 0:
        r.vector_row += 1
        r.vector_left = per_row
        r.vector_source += command.pitch
        if r.vector_row == command.mt:
            r.vector_finish = cycle + (size.normalize if ends else size.softmax)


@compiled
def _step_merge(core, cycle):
    """A cycle of the walk of MERGE."""
    r, size = core.registers[0], core.sizes[0]
    command = core.table[r.vector]
    if r.walk == _ROW:
        if _row_group_ready(r, command, cycle):
            r.walk = _RUN
        return
    if r.walk == _RUN:
        r.walk = _FOLD
        return
    if r.walk == _PAUSE:
        r.walk_pause -= 1
        if r.walk_pause == 0:
            r.walk = _CLOSE
        return
    closes = r.walk == _CLOSE
    items = min(r.vector_left, size.merge_run) * size.merge_words
    last_run, last_group = r.vector_left <= size.merge_run, r.vector_row == command.mt - 1
    # Item by item in its place of the turn; one that has to wait comes a turn later.
    if r.walk_at == r.walk_item and r.walk_item < items:
        if closes or r.feed < 0:
            r.walk_item += 1
            if closes and r.walk_item == items and last_run and last_group:
                r.vector_finish = cycle + size.merge_end
        else:
            r.stalls[_VECTOR] = 1
    r.walk_at += 1
    if r.walk_at < size.merge_turn:
        return
    r.walk_at = 0
    if r.walk_item < items:
        return
    r.walk_item = 0
    if not closes:
        r.walk_split += 1
        if r.walk_split == command.kt:
            r.walk_split = 0
            r.walk, r.walk_pause = _PAUSE, size.product
        return
    r.walk = _RUN
    r.vector_left -= size.merge_run
    if last_run:
        r.walk = _ROW
        r.vector_left = command.nt * command.groups
        r.vector_row += 1
