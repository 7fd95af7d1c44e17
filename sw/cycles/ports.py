"""AXI between cores and memory, a cycle of it: a port for each core, or one that a cluster shares; see ``rtl/cluster``.

At memory a request that is valid in a cycle arrives in the next one, and a beat is valid in the cycle before its own.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from ..memory.timing import read_times, write_time
from .state import Fifo, after, compiled, core_at, pop, push, ready

__all__ = ["Interconnect", "interconnect_state", "step_interconnect", "step_port"]

#: IDs of a core's reads; at memory those of core i are 2 i and 2 i + 1. It writes by the first of them.
_IDENTS = 2
_OF_FETCH = 0
#: Places of a register slice, and cycles from its input to its output.
_PLACES, _SLICE = 2, 1
#: A burst in one word: address, beats, ID.
_BEATS = 512


class _Slice(IntEnum):
    """Slices of the interconnect: those of a core, and behind them at its number 0 those of the bus."""

    AR = 0
    AW = 1
    W = 2
    R = 3
    B = 4
    BUS_R = 5
    BUS_W = 6
    BUS_B = 7
    ORDER = 8  # whose beats pass on W: the number of the core


class Interconnect(NamedTuple):
    """Registers of :class:`~amla.rtl.cluster.interconnect.Interconnect`.

    slices: [core, _Slice, words of a queue]; bus: record [1]: bursts read so far, the one whose beats come; of AR: the
    core served last, whether a burst is valid, and that burst; of AW: the core served last, bursts so far
    """

    slices: np.ndarray
    bus: np.ndarray


_BUS = np.dtype([(name, np.int64) for name in (
    "bursts", "number", "ar_served", "ar_valid", "ar_burst", "aw_served", "writes")])


def interconnect_state(cores: int) -> Interconnect:
    """After reset."""
    slices = np.zeros((cores, len(_Slice), 3 + 2 * _PLACES), np.int64)
    slices[:, :, 2] = _PLACES
    bus = np.zeros(1, _BUS)
    bus["number"] = -1
    return Interconnect(slices, bus)


@compiled
def step_port(core, memory, cycle, number):
    """The core's own port: memory takes what comes at once."""
    r = core.registers[0]
    _end_beat(core)
    if r.ar_valid:
        _read(core, memory, cycle + 1, number, r.ar_ident, r.ar_address, r.ar_beats, r.bursts)
        r.ar_valid = 0
    r.aw_ready = r.w_ready = 1
    if r.s_write:
        _beat_written(core, cycle)
        if r.s_write_last:
            _write(core, memory, cycle + 1, number, r.written)
    found, oldest = -1, 0
    for ident in range(_IDENTS):
        burst = _due(core, ident, cycle)
        # The oldest burst of which a beat is there goes on while its beats come.
        if burst >= 0 and (found < 0 or burst < oldest or burst == r.r_number) and not (
                found >= 0 and oldest == r.r_number):
            found, oldest = ident, burst
    r.r_number = oldest if found >= 0 else -1
    r.r_ident = found
    if found >= 0:
        heap = core.arriving[found]
        r.r_record = core.records[found, heap[0] % core.answers.shape[1]]
        _beat_read(core, cycle)
    r.b_valid = _answer_due(core, cycle) >= 0
    if r.b_valid:
        r.answered += 1


@compiled
def _end_beat(core):
    """The beat that the core took leaves the head of its queue at memory."""
    r = core.registers[0]
    if r.r_taken:
        _leave(core, r.r_ident)
        _beat_taken(core)


@compiled
def _leave(core, ident):
    heap = core.arriving[ident]
    heap[0] += 1
    heap[1] -= 1


@compiled
def _beat_read(core, cycle):
    """A beat is on the core's R; those of fetch are taken."""
    r = core.registers[0]
    if r.r_record != r.r_turn:  # another burst's
        core.reads[r.turns, 0] = cycle
        r.r_turn = r.r_record
        r.turns += 1
    core.reads[r.turns - 1, 1] = cycle
    if r.r_ident == _OF_FETCH:
        push(core.fifos[Fifo.FETCHED], 0, cycle)
        r.r_taken = 1


@compiled
def _beat_taken(core):
    """The core took the beat that was on its R."""
    r = core.registers[0]
    core.reads[r.turns - 1, 2] += core.sizes[0].beat_bytes
    r.r_taken = 0


@compiled
def _beat_written(core, cycle):
    """The core's W takes a beat."""
    r = core.registers[0]
    burst = core.writes[r.s_number]
    if burst[0] == 0:
        burst[0] = cycle
    burst[1] = cycle
    if r.s_write_last:
        r.s_number += 1


@compiled
def _read(core, memory, arrival, number, ident, address, beats, burst):
    """A burst is read from memory, where it is number ``burst``."""
    r, size = core.registers[0], core.sizes[0]
    ring, heap = core.answers.shape[1], core.arriving[ident]
    first = heap[0] + heap[1]
    read_times(memory, _IDENTS * number + ident, address, beats * size.beat_bytes, arrival, core.answers[ident], first)
    for beat in range(beats):
        core.numbers[ident, (first + beat) % ring] = burst
        core.records[ident, (first + beat) % ring] = r.bursts
    heap[1] += beats
    r.bursts += 1


@compiled
def _write(core, memory, arrival, number, burst):
    """The last beat of the core's oldest burst reaches memory, where the burst is number ``burst``."""
    r = core.registers[0]
    place = r.written % len(core.pending)
    core.pending[place] = write_time(memory, _IDENTS * number,
                                     core.write_address[r.written % len(core.write_address)],
                                     core.writes[r.written, 2], arrival)
    core.pending_number[place] = burst
    r.written += 1


@compiled
def _due(core, ident, cycle):
    """The burst whose beat of this ID can be on R in this cycle, -1 if there is none."""
    heap, ring = core.arriving[ident], core.answers.shape[1]
    if heap[1] and core.answers[ident, heap[0] % ring] <= cycle + 1:
        return core.numbers[ident, heap[0] % ring]
    return -1


@compiled
def _answer_due(core, cycle):
    """The burst whose response can be on B in this cycle, -1 if there is none."""
    r = core.registers[0]
    place = r.answered % len(core.pending)
    if r.answered < r.written and core.pending[place] <= cycle + 1:
        return core.pending_number[place]
    return -1


@compiled
def step_interconnect(cores, memory, bus, slices, cycle):
    """The port of all cores, whose registers say what they offer; idle ones offer nothing.

    What a slice takes in a cycle leaves it no sooner than in the next one, and room is what there was before the cycle.
    """
    _request(cores, memory, bus[0], slices, cycle)
    _send_data(cores, memory, bus[0], slices, cycle)
    _answer(cores, bus[0], slices, cycle)
    _respond(cores, slices, cycle)


@compiled
def _open(fifo):
    return fifo[1] < fifo[2]


@compiled
def _turn(slices, channel, served, cycle):
    """The first core behind ``served`` whose slice holds a burst, -1 if there is none."""
    for offset in range(1, len(slices) + 1):
        number = (served + offset) % len(slices)
        if ready(slices[number, channel], cycle, _SLICE):
            return number
    return -1


@compiled
def _request(cores, memory, bus, slices, cycle):
    """AR."""
    if bus.ar_valid:
        core = core_at(cores, bus.ar_served)
        burst = bus.ar_burst // _IDENTS
        _read(core, memory, cycle + 1, bus.ar_served, bus.ar_burst % _IDENTS, burst // _BEATS, burst % _BEATS,
              bus.bursts)
        bus.bursts += 1
    for number in range(len(slices)):
        r, fifo = cores.registers[number, 0], slices[number, _Slice.AR]
        if r.ar_valid and _open(fifo):
            push(fifo, (r.ar_address * _BEATS + r.ar_beats) * _IDENTS + r.ar_ident, cycle)
            r.ar_valid = 0
    number = _turn(slices, _Slice.AR, bus.ar_served, cycle)
    bus.ar_valid = number >= 0
    if number >= 0:
        bus.ar_served = number
        bus.ar_burst = pop(slices[number, _Slice.AR])


@compiled
def _send_data(cores, memory, bus, slices, cycle):
    """AW and W, whose beats pass in the order of the bursts."""
    order, data = slices[0, _Slice.ORDER], slices[0, _Slice.BUS_W]
    data_open, order_open = _open(data), _open(order)
    if ready(data, cycle, _SLICE):
        beat = pop(data)
        if beat & 1:
            _write(core_at(cores, beat >> 1), memory, cycle + 1, beat >> 1, bus.writes)
            bus.writes += 1
    for number in range(len(slices)):
        r = cores.registers[number, 0]
        r.aw_ready, r.w_ready = _open(slices[number, _Slice.AW]), _open(slices[number, _Slice.W])
        if cores.generators[number, 1].valid and r.aw_ready:
            push(slices[number, _Slice.AW], 0, cycle)
        if r.s_write and r.w_ready:
            push(slices[number, _Slice.W], r.s_write_last, cycle)
            _beat_written(core_at(cores, number), cycle)
    if ready(order, cycle, _SLICE) and data_open:
        number = after(order)
        beats = slices[number, _Slice.W]
        if ready(beats, cycle, _SLICE):
            last = pop(beats)
            push(data, 2 * number + last, cycle)
            if last:
                pop(order)
    if order_open:
        number = _turn(slices, _Slice.AW, bus.aw_served, cycle)
        if number >= 0:
            bus.aw_served = number
            pop(slices[number, _Slice.AW])
            push(order, number, cycle)


@compiled
def _answer(cores, bus, slices, cycle):
    """R: a beat a cycle from memory, the oldest burst's of which one is there, which goes on while its beats come."""
    shared = slices[0, _Slice.BUS_R]
    found, oldest = -1, 0
    for stream in range(_IDENTS * len(slices)):
        burst = _due(core_at(cores, stream // _IDENTS), stream % _IDENTS, cycle)
        if burst >= 0 and (found < 0 or burst < oldest or burst == bus.number) and not (
                found >= 0 and oldest == bus.number):
            found, oldest = stream, burst
    bus.number = oldest if found >= 0 else -1
    shared_open = _open(shared)
    for number in range(len(slices)):
        r, fifo = cores.registers[number, 0], slices[number, _Slice.R]
        if r.r_taken:
            pop(fifo)
            _beat_taken(core_at(cores, number))
    if ready(shared, cycle, _SLICE):
        stream = after(shared) % (_IDENTS * len(slices))
        fifo = slices[stream // _IDENTS, _Slice.R]
        if _open(fifo):
            push(fifo, pop(shared) // (_IDENTS * len(slices)) * _IDENTS + stream % _IDENTS, cycle)
    if found >= 0 and shared_open:
        core, ident = core_at(cores, found // _IDENTS), found % _IDENTS
        record = core.records[ident, core.arriving[ident, 0] % core.answers.shape[1]]
        push(shared, record * _IDENTS * len(slices) + found, cycle)
        _leave(core, ident)
    for number in range(len(slices)):
        r, fifo = cores.registers[number, 0], slices[number, _Slice.R]
        r.r_ident = -1
        if ready(fifo, cycle, _SLICE):
            r.r_ident, r.r_record = after(fifo) % _IDENTS, after(fifo) // _IDENTS
            _beat_read(core_at(cores, number), cycle)


@compiled
def _respond(cores, slices, cycle):
    """B: a response a cycle from memory, the oldest burst's; cores take theirs at once."""
    shared = slices[0, _Slice.BUS_B]
    found, oldest = -1, 0
    for number in range(len(slices)):
        burst = _answer_due(core_at(cores, number), cycle)
        if burst >= 0 and (found < 0 or burst < oldest):
            found, oldest = number, burst
    if ready(shared, cycle, _SLICE):
        push(slices[after(shared), _Slice.B], 0, cycle)
        pop(shared)
    if found >= 0:
        cores.registers[found, 0].answered += 1
        push(shared, found, cycle)
    for number in range(len(slices)):
        r, fifo = cores.registers[number, 0], slices[number, _Slice.B]
        r.b_valid = ready(fifo, cycle, _SLICE)
        if r.b_valid:
            pop(fifo)
