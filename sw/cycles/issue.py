"""Sequencer, queues and semaphores, a cycle of each; see ``rtl/issue``."""

from amla.rtl.isa import HALFWORD_BITS, SEMAPHORES, Engine, Opcode

from .state import ENGINES, Fifo, compiled, pop, ready

__all__ = ["finish_commands", "grant", "step_freely", "step_queues", "step_sequencer"]

_BUSY, _WAIT_SEMAPHORE, _WAIT_MEMORY, _IDLE = range(4)
_SEQUENCER, _LOAD, _STORE = int(Engine.SEQUENCER), int(Engine.LOAD), int(Engine.STORE)
_HALT = int(Opcode.HALT)
_HALFWORD = HALFWORD_BITS // 8
_BURST_BEATS = 8

#: What the unpacker waits for: a command's first halfword, the second, the rest, or that it is taken.
_HEAD, _GIVEN, _REST, _WHOLE = range(4)


@compiled
def step_sequencer(core, cycle):
    """Fetch and unpack a halfword, and hand a whole command on; before all others, whose registers it sees."""
    r, size = core.registers[0], core.sizes[0]
    fetched = core.fifos[Fifo.FETCHED]
    r.requests = r.asking
    _fetch(core)
    state = _WAIT_MEMORY
    takes = False  # the whole command
    if r.halted or r.index >= r.length:
        core.counters[_SEQUENCER, _IDLE] += 1
        return
    command = core.table[r.index]
    if r.phase == _WHOLE:
        state = _IDLE
        if command.engine != _SEQUENCER:
            engine = command.engine
            if r.pushed[engine] - r.taken[engine] < size.queue_depth:
                core.pushed_at[r.index] = cycle
                r.pushed[engine] += 1
                takes, state = True, _BUSY
        else:
            takes, state = _step_fence(core, r.index, cycle)
        if takes:
            r.index += 1
            r.phase = _HEAD
    core.counters[_SEQUENCER, state] += 1
    wants = r.phase != _WHOLE and not (r.phase == _REST and r.given == 0)
    if wants and ready(fetched, cycle) and r.index < r.length and not r.halted:
        r.fetch_place += 1
        if r.fetch_place == size.beat_bytes // _HALFWORD:
            r.fetch_place = 0
            pop(fetched)
            r.fetch_ahead -= 1
        if r.phase == _HEAD:
            r.phase = _GIVEN
        elif r.phase == _GIVEN:
            r.phase, r.given = _REST, core.table[r.index].halfwords - 2
        else:
            r.given -= 1
            if r.given == 0:
                r.phase = _WHOLE
    elif r.phase == _REST and r.given == 0:
        r.phase = _WHOLE


@compiled
def _step_fence(core, number, cycle):
    """A FENCE or HALT at the head: whether it leaves, and the sequencer's state."""
    r = core.registers[0]
    r.fence = number
    if r.asking:
        if r.granted != _SEQUENCER:
            return False, _WAIT_SEMAPHORE
        core.end[number] = cycle
        r.done[_SEQUENCER] = 1
        r.asking, r.started = 0, 0
        r.halted = core.table[number].opcode == _HALT
        return True, _BUSY
    if not r.started:
        core.start[number] = cycle
    r.started = 1
    r.asking = _drained(core)
    return False, _WAIT_SEMAPHORE if r.asking else _IDLE


@compiled
def _drained(core):
    r = core.registers[0]
    unfinished = 0
    for engine in range(1, ENGINES):
        unfinished += r.pushed[engine] - r.finished[engine]
    return unfinished == 0


@compiled
def step_freely(core, cycle):
    """Instead of :func:`step_sequencer`: every command is in its queue as soon as the FENCEs before it are done."""
    r = core.registers[0]
    r.requests = r.asking
    for engine in range(1, ENGINES):
        while r.pushed[engine] < core.counts[engine]:
            command = core.order[engine, r.pushed[engine]]
            if core.table[command].section > r.section:
                break
            core.pushed_at[command] = cycle
            r.pushed[engine] += 1
    if r.section == core.counts[_SEQUENCER]:
        r.halted = _drained(core)
    elif _step_fence(core, core.order[_SEQUENCER, r.section], cycle)[0]:
        r.section += 1


@compiled
def _fetch(core):
    """The address side of the program; ``fetch_asking`` is the request that the arbiter sees in this cycle."""
    r, size = core.registers[0], core.sizes[0]
    if r.fetch_settling:
        r.fetch_settling -= 1
    elif (not r.fetch_asking and r.fetch_remaining and r.fetch_ahead <= size.fetch_depth - _BURST_BEATS):
        r.fetch_asking = 2  # to be seen from the next cycle on
        r.fetch_burst = min(_BURST_BEATS - r.fetch_address // size.beat_bytes % _BURST_BEATS, r.fetch_remaining)


@compiled
def finish_commands(core, cycle):
    """Completions of this cycle, but the sequencer's."""
    r = core.registers[0]
    for engine in range(1, ENGINES):
        done = core.fifos[Fifo.DONE + engine]
        r.done[engine] = done[1] > 0 and done[4 + 2 * done[0]] == cycle
        if r.done[engine]:
            pop(done)
            core.end[core.order[engine, r.finished[engine]]] = cycle
            r.finished[engine] += 1


@compiled
def grant(core):
    """Semaphores: this cycle's grant, which the queue knows in the next one; tokens taken and given."""
    r = core.registers[0]
    available = 0
    for number in range(SEMAPHORES):
        if r.semaphores[number]:
            available |= 1 << number
    taken, chosen = 0, -1
    if r.granted >= 0:
        client = r.granted
        taken = core.table[r.fence if client == _SEQUENCER else _waiting(core, client)].wait
    else:
        for offset in range(1, ENGINES + 1):
            client = (r.served + offset) % ENGINES
            if client == _SEQUENCER:
                wants, command = r.requests == 1, r.fence
            else:
                wants = r.waits[client] and not r.holds[client]
                command = _waiting(core, client)
            if wants and not core.table[command].wait & ~available:
                chosen, r.served = client, client
                break
    for engine in range(ENGINES):
        if r.done[engine]:
            command = r.fence if engine == _SEQUENCER else core.order[engine, r.finished[engine] - 1]
            signal = core.table[command].signal
            for number in range(SEMAPHORES):
                r.semaphores[number] += signal >> number & 1
    for number in range(SEMAPHORES):
        r.semaphores[number] -= taken >> number & 1
    r.done[_SEQUENCER] = 0
    r.chosen = chosen


@compiled
def _waiting(core, engine):
    """The command in the register behind the queue of an engine, if there is one."""
    return core.order[engine, max(core.registers[0].taken[engine] - 1, 0)]


@compiled
def step_queues(core, cycle):
    """After the engines: registers of the queues, and the states that are counted."""
    r = core.registers[0]
    for engine in range(1, ENGINES):
        accepts = r.accepts[engine]
        running = r.accepted[engine] - accepts > r.finished[engine] - r.done[engine]
        if running:
            state = _WAIT_MEMORY if r.stalls[engine] else _BUSY
        elif r.waits[engine]:
            state = _BUSY if r.holds[engine] else _WAIT_SEMAPHORE
        else:
            state = _IDLE
        core.counters[engine, state] += 1
        if accepts:
            r.waits[engine], r.holds[engine] = 0, 0
        if not r.waits[engine] and r.taken[engine] < r.pushed[engine]:
            command = core.order[engine, r.taken[engine]]
            if core.pushed_at[command] + 2 <= cycle:
                r.taken[engine] += 1
                r.waits[engine] = 1
        if r.granted == engine:
            r.holds[engine] = 1
        r.accepts[engine], r.stalls[engine] = 0, 0
    r.granted = r.chosen
