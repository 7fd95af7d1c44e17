"""AXI between cores and memory: a port for each core, or one that a cluster shares; see ``rtl/cluster``."""

import numpy as np

from ..memory.timing import read_times
from .state import Fifo, compiled, core_at, push

__all__ = ["BACK", "WAY", "WRITE_WAY", "answered", "port_state", "step_port", "step_shared_port"]

#: IDs of a core's reads; at memory those of core i are 2 i and 2 i + 1.
_IDENTS = 2
_OF_FETCH = 0

#: Cycles through the interconnect of a cluster: of a read's address, of a write's data, and of answers.
WAY, WRITE_WAY, BACK = 2, 3, 2

#: A shared port: bursts so far; the core whose request went last; the burst whose beats come.
_PORT = np.dtype([("bursts", np.int64), ("served", np.int64), ("number", np.int64)])


def port_state() -> np.ndarray:
    """The record [1] of a port that nobody has used."""
    port = np.zeros(1, _PORT)
    port["served"] = port["number"] = -1
    return port


@compiled
def step_port(core, memory, cycle, number):
    """The core's own port: its request reaches memory, an answer the core.

    A request that is valid in a cycle arrives in the next one, and a beat is valid in the cycle before its own.
    """
    r = core.registers[0]
    if r.ar_valid:
        send(core, memory, cycle + 1, number, r.bursts)
    found, oldest = -1, 0
    for ident in range(_IDENTS):
        burst = due(core, ident, cycle)
        # The oldest burst of which a beat is there goes on while its beats come.
        if burst >= 0 and (found < 0 or burst < oldest or burst == r.r_number) and not (
                found >= 0 and oldest == r.r_number):
            found, oldest = ident, burst
    deliver(core, found, cycle)


@compiled
def step_shared_port(cores, memory, port, cycle):
    """The port of all cores: a request and a beat a cycle, requests in turns.

    A core's registers say what it offers; those that are idle offer nothing.
    """
    state, count = port[0], len(cores.sizes)
    for offset in range(1, count + 1):
        number = (state.served + offset) % count
        if cores.registers[number, 0].ar_valid:
            send(core_at(cores, number), memory, cycle + 1 + WAY, number, state.bursts)
            state.bursts += 1
            state.served = number
            break
    found, oldest = -1, 0
    for stream in range(_IDENTS * count):
        burst = due(core_at(cores, stream // _IDENTS), stream % _IDENTS, cycle - BACK)
        if burst >= 0 and (found < 0 or burst < oldest or burst == state.number) and not (
                found >= 0 and oldest == state.number):
            found, oldest = stream, burst
    if found >= 0:
        state.number = oldest
    for number in range(count):
        deliver(core_at(cores, number), found % _IDENTS if found // _IDENTS == number else -1, cycle)


@compiled
def send(core, memory, arrival, number, burst):
    """The core's request reaches memory in cycle ``arrival``, as burst ``burst`` of its port."""
    r, size = core.registers[0], core.sizes[0]
    ident, ring = r.ar_ident, core.answers.shape[1]
    heap = core.arriving[ident]
    first = heap[0] + heap[1]
    read_times(memory, _IDENTS * number + ident, r.ar_address, r.ar_beats * size.beat_bytes, arrival,
               core.answers[ident], first)
    for beat in range(r.ar_beats):
        core.numbers[ident, (first + beat) % ring] = burst
        core.records[ident, (first + beat) % ring] = r.bursts
    heap[1] += r.ar_beats
    core.reads[r.bursts, 2] = r.ar_beats * size.beat_bytes
    r.bursts += 1
    r.ar_valid = 0


@compiled
def due(core, ident, cycle):
    """The burst whose beat of this ID can be on R in this cycle, -1 if there is none."""
    heap, ring = core.arriving[ident], core.answers.shape[1]
    if heap[1] and core.answers[ident, heap[0] % ring] <= cycle + 1:
        return core.numbers[ident, heap[0] % ring]
    return -1


@compiled
def deliver(core, ident, cycle):
    """A beat of this ID is on the core's R, none if it is -1; those of fetch are taken."""
    r = core.registers[0]
    r.r_ident = ident
    if ident < 0:
        return
    place = core.arriving[ident, 0] % core.answers.shape[1]
    r.r_number, record = core.numbers[ident, place], core.records[ident, place]
    if core.reads[record, 0] == 0:
        core.reads[record, 0] = cycle
    core.reads[record, 1] = cycle
    if ident == _OF_FETCH:
        push(core.fifos[Fifo.FETCHED], 0, cycle)
        answered(core, ident)


@compiled
def answered(core, ident):
    """The core has taken the beat."""
    heap = core.arriving[ident]
    heap[0] += 1
    heap[1] -= 1
