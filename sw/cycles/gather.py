"""Lists and FP8 rows on their way to L1, a cycle of each; see ``row_gather.py``, ``dequantizer.py`` in ``rtl/host``."""

from amla.rtl.host.dequantizer import GRANULE, ROWS, SCALES_UNIT, Layout

from .state import Fifo, after, compiled, pop, push, ready

__all__ = ["OF_LIST", "OF_LISTED_ROW", "OF_ROWS", "gathers_next", "step_converter", "step_gather", "take_beat"]

_584 = 1 + int(Layout.FP8_584)
_VALUES = tuple(row.values for row in ROWS.values())
_BYTES = tuple(row.bytes for row in ROWS.values())
_ROPE_BYTES = 128
_ENTRY_BYTES = 4
#: Requests of the load engine: rows, a list, a row of a list.
OF_ROWS, OF_LIST, OF_LISTED_ROW = range(3)
_SCALES_AT = 512 // GRANULE


@compiled
def take_beat(core, cycle):
    """Whether a list, or the converter, takes the beat on R."""
    r, size = core.registers[0], core.sizes[0]
    if r.source < 0:
        return False
    if r.source & 3 == OF_LIST:
        lists = core.fifos[Fifo.LISTS]
        if lists[1] == lists[2]:
            return False
        push(lists, 0, cycle)
        return True
    if r.source_waits or r.sort < 0 or _layout(core, r.source) == 0:
        return False
    values, scales = core.fifos[Fifo.VALUES], core.fifos[Fifo.SCALES]
    granules, units = size.beat_bytes // GRANULE, size.beat_bytes // SCALES_UNIT
    if scales[1] == scales[2] or (not r.sort_scales and values[1] == values[2]):
        return False
    if r.sort_scales:
        push(scales, 0, cycle)
        r.sort_units -= units
        r.sort_scales = r.sort_units > 0
        return True
    layout = _layout(core, r.sort)
    offset = _SCALES_AT - r.sort_place
    has_scales = layout != _584 and 0 <= offset < granules
    if has_scales:
        push(scales, 0, cycle)
    if not has_scales or granules > 1:
        push(values, 0, cycle)
    row = _BYTES[layout - 1] // GRANULE
    r.sort_place += granules
    if r.sort_place >= row:
        r.sort_place -= row
        r.sort_rows -= 1
        if r.sort_rows == 0:
            r.sort = -1
    return True


@compiled
def _layout(core, request):
    return core.entries[request >> 2].layout if request & 3 == OF_LISTED_ROW else core.table[request >> 2].layout


@compiled
def _task(core, request):
    """Rows, first granule and first scale of a task of the converter."""
    if request & 3 == OF_LISTED_ROW:
        entry = core.entries[request >> 2]
        return 1, entry.first_granule, entry.first_scale
    command = core.table[request >> 2]
    return command.rows, command.first_granule, command.first_scale


@compiled
def step_converter(core, cycle):
    """After the beat of this cycle has been taken."""
    r, size = core.registers[0], core.sizes[0]
    values, scales, tasks = core.fifos[Fifo.VALUES], core.fifos[Fifo.SCALES], core.fifos[Fifo.CONVERTS]
    tasks_open = tasks[1] < tasks[2]
    units = size.beat_bytes // SCALES_UNIT
    shifts, ends = 0, False
    if r.convert >= 0:
        layout = _layout(core, r.convert)
        wide = layout != _584
        value_beats = _VALUES[layout - 1] * 2 // size.beat_bytes
        beats = value_beats + _ROPE_BYTES // size.beat_bytes
        rope, last_beat = r.convert_beat >= value_beats, r.convert_beat == beats - 1
        last_row = r.convert_rows == 1
        end = r.convert_place + (units if rope else units // 2)
        skips = wide and r.convert_beat == value_beats - 1 and size.beat_bytes > GRANULE  # the scales behind the values
        if r.convert_room and ready(scales, cycle) and (r.window == 2 or (r.window == 1 and end <= units)):
            target = end + (GRANULE // SCALES_UNIT if skips else 0)
            r.convert_room -= 1
            push(core.fifos[Fifo.CONVERTED], 0, cycle + size.dequantize + 1)
            shifts = (target >= units or (last_beat and last_row)) + (last_beat and last_row and end > units)
            r.convert_place = target % units
            r.convert_beat += 1
            if last_beat:
                if wide or r.convert_unit == units - 1 or last_row:
                    pop(scales)
                r.convert_beat = 0
                r.convert_rows -= 1
                r.convert_unit = (r.convert_unit + 1) % units
                ends = last_row
    r.window -= shifts
    if r.window < 2 and ready(values, cycle):
        pop(values)
        r.window += 1
    if r.convert < 0 or ends:
        r.convert = -1
        if ready(tasks, cycle):
            r.convert = pop(tasks)
            r.convert_rows, first, r.convert_unit = _task(core, r.convert)
            r.convert_beat, r.convert_place = 0, first * (GRANULE // SCALES_UNIT)
    # The next task, once the beats of the one before have been sorted.
    if r.source_waits and r.sort < 0 and tasks_open and r.source >= 0:
        r.source_waits = 0
        r.sort = r.source
        push(tasks, r.source, cycle)
        rows, first, first_scale = _task(core, r.sort)
        layout = _layout(core, r.sort)
        r.sort_scales = layout == _584
        r.sort_units, r.sort_rows = first_scale + rows, rows + (first != 0)
        r.sort_place = _BYTES[layout - 1] // GRANULE - first if first else 0


@compiled
def gathers_next(core, cycle, requests_open, listed_open, region_ready):
    """The region of a gathered row that is requested, 2 · entry, + 1 of its scales; -1 if none."""
    r, results, listed = core.registers[0], core.fifos[Fifo.RESULTS], core.fifos[Fifo.LISTED]
    if not ready(results, cycle) or not requests_open or not listed_open:
        return -1
    number = after(results)
    entry = core.entries[number]
    apart = entry.layout == _584
    if entry.read and not region_ready:
        return -1
    if entry.read and not r.gather_scales_sent:
        push(core.fifos[Fifo.REQUESTS], 4 * number + OF_LISTED_ROW, cycle)
    if entry.read and apart and not r.gather_scales_sent:
        r.gather_scales_sent = 1
        return 2 * number + 1
    r.gather_scales_sent = 0
    pop(results)
    push(listed, entry.read, cycle)
    r.gather_room += 1
    r.gather_unrequested -= 1
    if r.gather_unrequested == 0:
        r.gather, r.gather_settled = -1, 0
        r.gather_open -= 1
    return 2 * number if entry.read else -1


@compiled
def step_gather(core, cycle):
    """Entries of the list whose command is the oldest, before :func:`gathers_next` makes room for more."""
    r, size = core.registers[0], core.sizes[0]
    gathers, lists = core.fifos[Fifo.GATHERS], core.fifos[Fifo.LISTS]
    if r.gather < 0:
        if ready(gathers, cycle):
            r.gather = pop(gathers)
            r.gather_settled = 0
        return
    if r.gather_settled < 2:
        if r.gather_settled == 0:
            command = core.table[r.gather]
            r.gather_left = r.gather_unrequested = command.rows
            r.gather_index = 0
        r.gather_settled += 1
        return
    if r.gather_left and r.gather_room and ready(lists, cycle):
        command = core.table[r.gather]
        push(core.fifos[Fifo.RESULTS], command.entry + command.rows - r.gather_left, cycle + size.listed)
        r.gather_room -= 1
        r.gather_left -= 1
        r.gather_index += 1
        if r.gather_index == size.beat_bytes // _ENTRY_BYTES or r.gather_left == 0:
            r.gather_index = 0
            pop(lists)
