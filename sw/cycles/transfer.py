"""Load and store engine and their AXI side, a cycle of each; see ``rtl/engines``, ``rtl/host``."""

from amla.rtl.host.dequantizer import Layout
from amla.rtl.isa import Engine, Opcode

from .compute import accept
from .gather import OF_LIST, OF_LISTED_ROW, OF_ROWS, gathers_next, step_converter, step_gather, take_beat
from .state import Fifo, after, compiled, pop, push, ready

__all__ = ["step_load", "step_store"]

_LOAD, _STORE = int(Engine.LOAD), int(Engine.STORE)
_GATHER = int(Opcode.GATHER)
_656, _584 = 1 + int(Layout.FP8_656), 1 + int(Layout.FP8_584)

#: IDs of reads: the arbiter's clients.
_OF_FETCH, _OF_LOAD = 0, 1


@compiled
def _arbitrate(core):
    """Give the bus to fetch or load, each of which may be valid; whether it is load's."""
    r, size, bursts = core.registers[0], core.sizes[0], core.generators[0]
    fetch = r.fetch_asking == 1 and not r.ar_valid
    to_load = bursts.valid == 1 and not r.ar_valid and (not fetch or r.ar_served == _OF_FETCH)
    r.ar_valid = r.ar_valid or to_load or fetch
    if to_load:
        r.ar_served = r.ar_ident = _OF_LOAD
        r.ar_address, r.ar_beats = bursts.burst_address, bursts.burst_beats
    elif fetch:
        r.ar_served = r.ar_ident = _OF_FETCH
        r.ar_address, r.ar_beats = r.fetch_address, r.fetch_burst
        r.fetch_address += r.fetch_burst * size.beat_bytes
        r.fetch_remaining -= r.fetch_burst
        r.fetch_ahead += r.fetch_burst
        r.fetch_asking, r.fetch_settling = 0, 2
    if r.fetch_asking == 2:
        r.fetch_asking = 1
    return to_load


@compiled
def _cut(size, address, beats):
    """Beats of a run's next burst."""
    return min(beats, size.block_beats - address // size.beat_bytes % size.block_beats)


@compiled
def _step_generator(core, number, taken, half, stopped):
    """A cycle of a burst generator, whose burst is ``taken``; whether it takes a region in this cycle."""
    size, g = core.sizes[0], core.generators[number]
    if not (g.left or g.waits or g.active or g.valid):
        g.measured = 1
        return True
    length = _cut(size, g.now_address, g.now_beats)
    ends = length == g.now_beats
    begins = (g.active and g.measured and not stopped and length + (size.in_flight // 2 if half else 0) <= g.room
              and (not g.valid or taken))
    takes = g.waits and (not g.active or (begins and ends))
    measures = g.left and (not g.waits or takes)
    region_ready = not g.left or (measures and g.rows == 1)
    if begins:
        g.room -= length
        g.valid, g.burst_address, g.burst_beats, g.burst_last = 1, g.now_address, length, ends and g.now_last
    elif taken:
        g.valid = 0
    if takes:
        g.now_address, g.now_beats, g.now_last = g.ahead_address, g.ahead_beats, g.ahead_last
        g.active, g.measured, g.waits = 1, 1, 0
    elif begins:
        g.now_address += length * size.beat_bytes
        g.now_beats -= length
        g.measured, g.active = 0, not ends
    else:
        g.measured = 1
    if measures:
        g.ahead_address, g.ahead_beats, g.ahead_last, g.waits = g.address, g.beats, g.rows == 1, 1
        g.rows -= 1
        g.address += g.pitch
    if region_ready:
        g.left = 0
    return region_ready


@compiled
def _begin_region(core, number, address, pitch, rows, beats):
    g = core.generators[number]
    g.left, g.address, g.pitch, g.rows, g.beats = 1, address, pitch, rows, beats


@compiled
def step_load(core, cycle):
    r, size = core.registers[0], core.sizes[0]
    beat = r.r_ident == _OF_LOAD  # there is one on R for this engine
    requests, tasks = core.fifos[Fifo.REQUESTS], core.fifos[Fifo.TASKS]
    tasks_open, requests_open = tasks[1] < tasks[2], requests[1] < requests[2]
    gathers, listed = core.fifos[Fifo.GATHERS], core.fifos[Fifo.LISTED]
    listed_open = listed[1] < listed[2]
    gathers_open, idle = gathers[1] < gathers[2], r.gather_open == 0
    to_load = _arbitrate(core)
    region_ready = _step_generator(core, 0, to_load, r.s_sending, False)
    # The converter's output and the beats are taken before what follows them.
    taken, converted = _data_side(core, cycle, beat)
    if beat and not taken:
        taken = take_beat(core, cycle)
    if taken:
        r.r_taken = 1
        core.generators[0].room += 1
    step_converter(core, cycle)
    r.convert_room += converted
    _step_source(core, cycle, taken)

    # Dispatch what is decoded, or else rows that were gathered.
    takes = False
    dispatches = False
    if r.decoded >= 0:
        command = core.table[r.decoded]
        gather = command.opcode == _GATHER
        wanted = command.rows != 0
        if tasks_open and wanted:
            takes = (gathers_open and not r.gather_scales_sent) if gather else idle
        dispatches = tasks_open and not wanted
        if takes and requests_open and region_ready:
            if command.scales_beats and not r.scales_sent:
                _begin_region(core, 0, command.scales, 0, 1, command.scales_beats)
                push(requests, 4 * r.decoded + OF_ROWS, cycle)
                r.scales_sent = 1
            else:
                _begin_region(core, 0, command.address, command.run_pitch, command.runs, command.beats)
                if not r.scales_sent:
                    push(requests, 4 * r.decoded + (OF_LIST if gather else OF_ROWS), cycle)
                dispatches = True
                if gather:
                    push(gathers, r.decoded, cycle)
                    r.gather_open += 1
        if dispatches:
            push(tasks, r.decoded, cycle)
            r.scales_sent = 0
    step_gather(core, cycle)
    region = gathers_next(core, cycle, requests_open, listed_open, region_ready and not takes)
    if region >= 0:
        entry = core.entries[region >> 1]
        if region & 1:
            _begin_region(core, 0, entry.scales, 0, 1, 1)
        else:
            _begin_region(core, 0, entry.address, 0, 1, entry.beats)

    # Decode and capture.
    was_decoded = r.decoded >= 0
    if dispatches:
        r.decoded = -1
    measured = r.captured >= 0 and r.settling == 0 and not was_decoded
    decodes = measured and not r.scales_left
    if measured:
        r.settling, r.scales_left = size.settle, 0
    elif r.settling:
        r.settling -= 1
    if decodes:
        r.decoded, r.captured = r.captured, -1
    if r.captured < 0:
        r.captured = accept(core, _LOAD, cycle)
        if r.captured >= 0:
            command = core.table[r.captured]
            plain = command.opcode == _GATHER or not command.layout
            r.scales_left = not plain and command.layout == _584
            r.settling = size.settle if plain else size.settle_fp8


@compiled
def _data_side(core, cycle, beat):
    """A beat into the write register; whether it was one from R, and whether one from the converter."""
    r, tasks, listed = core.registers[0], core.fifos[Fifo.TASKS], core.fifos[Fifo.LISTED]
    l1_ready = not r.p_valid
    free = not r.write or l1_ready
    if r.write and l1_ready and r.write_last:
        push(core.fifos[Fifo.DONE + _LOAD], 0, cycle + 1)
    pushes, taken, converted, ends, row_ends, by_list = False, False, False, False, False, False
    if r.task >= 0:
        command = core.table[r.task]
        by_list = r.task_reads and command.opcode == _GATHER
        reads = r.task_reads and (not by_list or r.listed_read)
        if free and (not by_list or r.listed):
            if not reads:
                pushes = True
            elif command.layout:
                pushes = converted = ready(core.fifos[Fifo.CONVERTED], cycle)
            else:
                # A plain request waits for its beats.
                pushes = taken = bool(beat and r.source >= 0 and _is_plain(core, r.source))
        if not pushes or (r.write and not l1_ready):
            r.stalls[_LOAD] = 1
        if pushes:
            r.task_beat += 1
            row_ends = r.task_beat == command.count
            ends = row_ends and r.task_row == command.rows_padded - 1
    elif r.write and not l1_ready:
        r.stalls[_LOAD] = 1
    if converted:
        pop(core.fifos[Fifo.CONVERTED])
    if not r.listed or (pushes and row_ends and by_list):
        r.listed = ready(listed, cycle)
        if r.listed:
            r.listed_read = pop(listed)
    if free:
        r.write, r.write_last = pushes, ends
    if row_ends:
        r.task_beat = 0
        r.task_row += 1
        if r.task_row >= core.table[r.task].rows:
            r.task_reads = 0
    if r.task < 0 or ends:
        r.task = -1
        if ready(tasks, cycle):
            r.task = pop(tasks)
            r.task_beat, r.task_row = 0, 0
            r.task_reads = core.table[r.task].rows != 0
    return taken, converted


@compiled
def _is_plain(core, request):
    if request & 3 == OF_ROWS:
        return core.table[request >> 2].layout == 0
    return request & 3 == OF_LISTED_ROW and core.entries[request >> 2].layout == 0


@compiled
def _step_source(core, cycle, taken):
    """What the beats that come next are for."""
    r, requests = core.registers[0], core.fifos[Fifo.REQUESTS]
    if taken:
        r.source_left -= 1
    if r.source < 0 or (taken and r.source_left == 0):
        r.source = -1
        if ready(requests, cycle):
            r.source = pop(requests)
            kind, number = r.source & 3, r.source >> 2
            if kind == OF_LISTED_ROW:
                entry = core.entries[number]
                r.source_left = entry.beats + (entry.layout == _584)
                r.source_waits = entry.layout != 0
            else:
                command = core.table[number]
                r.source_left = command.runs * command.beats + command.scales_beats
                r.source_waits = kind == OF_ROWS and command.layout != 0


@compiled
def step_store(core, cycle):
    r, size, g = core.registers[0], core.sizes[0], core.generators[1]
    tasks, lengths, unanswered = core.fifos[Fifo.STORES], core.fifos[Fifo.LENGTHS], core.fifos[Fifo.UNANSWERED]
    tasks_open = tasks[1] < tasks[2]
    quiet = g.room == size.in_flight
    answered = 0
    if r.b_valid:
        burst = pop(unanswered)
        answered = burst >> 1
        if burst & 1:
            push(core.fifos[Fifo.DONE + _STORE], 0, cycle + 1)

    # Data side: a beat of a burst that was issued.
    write_free = not r.s_write or r.w_ready
    read_free = not r.s_read or write_free
    step = r.s_task >= 0 and read_free and ready(lengths, cycle, 1)
    ends, last = False, False
    if step:
        r.s_left -= 1
        ends = r.s_left == 0
        r.s_burst_beat += 1
        last = r.s_burst_beat == after(lengths)
    if not quiet and not step and not (r.s_read and write_free):
        r.stalls[_STORE] = 1
    if write_free:
        r.s_write, r.s_write_last = r.s_read, r.s_read_last
    if read_free:
        r.s_read, r.s_read_last = step, last
    level, announce = lengths[1], g.valid and not r.s_told
    taken = g.valid and r.aw_ready
    r.s_told = g.valid and not taken
    if announce:
        push(lengths, g.burst_beats, cycle)
        push(unanswered, 2 * g.burst_beats + g.burst_last, cycle)
        core.writes[r.s_issued, 2] = g.burst_beats * size.beat_bytes
        core.write_address[r.s_issued % len(core.write_address)] = g.burst_address
        r.s_issued += 1
    region_ready = _step_generator(core, 1, taken, False, level + announce >= lengths[2])
    g.room += answered
    if last:
        pop(lengths)
        r.s_burst_beat = 0
    if r.s_task < 0 or ends:
        r.s_task = -1
        if ready(tasks, cycle):
            r.s_task = pop(tasks)
            command = core.table[r.s_task]
            r.s_left = command.runs * command.beats
    r.s_sending = g.valid or lengths[1] > 0

    # Dispatch, decode, capture.
    was_decoded = r.s_decoded >= 0
    if was_decoded and tasks_open and region_ready:
        command = core.table[r.s_decoded]
        push(tasks, r.s_decoded, cycle)
        _begin_region(core, 1, command.address, command.run_pitch, command.runs, command.beats)
        r.s_decoded = -1
    decodes = r.s_captured >= 0 and r.s_settling == 0 and not was_decoded
    if r.s_settling:
        r.s_settling -= 1
    if decodes:
        r.s_decoded, r.s_captured = r.s_captured, -1
    if r.s_captured < 0:
        r.s_captured = accept(core, _STORE, cycle)
        if r.s_captured >= 0:
            r.s_settling = size.settle
