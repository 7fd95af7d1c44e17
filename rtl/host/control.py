"""Run control: start, stop, the first fault, the watchdog, the interrupt and the counters."""

import enum

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..isa import ENGINE_STATES, INDEX_BITS, Engine, Fault

__all__ = ["ROW_BITS", "Control", "FaultSignature"]

#: A fault of one source: its code and the index of the command at fault.
FaultSignature = wiring.Signature({"strobe": Out(1), "code": Out(Fault), "index": Out(INDEX_BITS)})

#: Bits of the row at which a LOAD or GATHER is at fault.
ROW_BITS = 16


class Phase(enum.Enum):
    """What the core is doing."""

    IDLE = 0
    CLEAR = 1  # one cycle of reset for engines, queues and semaphores
    LAUNCH = 2
    RUN = 3
    STOPPING = 4  # a fault was taken; outstanding AXI transactions finish
    ENDED = 5


class Control(wiring.Component):
    """Takes the core from START to the interrupt.

    START (when idle, or after a program that ended without fault) clears the core for one cycle and runs
    the program. The first fault stops everything: ``halt`` rises at once, outstanding AXI transactions are
    completed, then the interrupt comes; a watchdog fault does not wait for them, since memory may never
    answer. After a fault only SOFT_RESET leads back to idle; it takes effect once AXI is quiet. When
    several faults come in one cycle, the one of the lowest engine counts.

    **Latency**: three cycles from START to the first fetch; CYCLES counts from the cycle after START to the
    cycle of the interrupt.

    Members
    -------
    start, soft_reset: strobes from the register CTRL
    clear:    reset engines, queues, semaphores
    launch:   strobe, fetch begins
    halt:     nothing new starts
    quiet:    no AXI transaction is outstanding
    halted:   the sequencer reached HALT
    engine_fault: fault of each engine
    load_row: row of the load engine's fault, with its strobe
    overflow, overflow_client, overflow_index: semaphore overflow
    state:    ``ENGINE_STATES`` of each engine; head_index: its oldest unfinished command
    progress: something moved on the AXI side or in the sequencer
    watchdog: limit in cycles, 0 for none
    active:   the cube issues
    nonfinite: an engine met a NaN weight, or a NaN or infinite output
    running, done, error, nonfinite_seen, finished: status; ``finished`` is a strobe
    error_code, error_engine, error_index, error_row, cycles, cube_active, counters: registers
    """

    def __init__(self):
        engines = len(Engine)
        super().__init__({
            "start": In(1), "soft_reset": In(1), "quiet": In(1), "halted": In(1),
            "clear": Out(1), "launch": Out(1), "halt": Out(1),
            "engine_fault": In(FaultSignature).array(engines), "load_row": In(ROW_BITS),
            "overflow": In(1), "overflow_client": In(range(engines)), "overflow_index": In(INDEX_BITS),
            "state": In(len(ENGINE_STATES)).array(engines),
            "head_index": In(INDEX_BITS).array(engines),
            "progress": In(1), "watchdog": In(32), "active": In(1), "nonfinite": In(1),
            "running": Out(1), "done": Out(1), "error": Out(1), "nonfinite_seen": Out(1), "finished": Out(1),
            "error_code": Out(Fault), "error_engine": Out(Engine), "error_index": Out(INDEX_BITS),
            "error_row": Out(ROW_BITS), "cycles": Out(32), "cube_active": Out(32),
            "counters": Out(32).array(engines * len(ENGINE_STATES)),
        })

    def elaborate(self, platform):
        m = Module()
        phase, following = Signal(Phase), Signal(Phase)
        counting, forget = Signal(), Signal()
        # What goes to many places is decoded ahead, so that it leaves a register.
        halt = Signal(init=1)
        clear = Signal()
        m.d.sync += [
            phase.eq(following),
            counting.eq((following == Phase.CLEAR) | (following == Phase.LAUNCH) | (following == Phase.RUN)
                        | (following == Phase.STOPPING)),
            halt.eq((following != Phase.RUN) & (following != Phase.LAUNCH)),
            clear.eq((following == Phase.CLEAR) | forget),
        ]
        m.d.comb += [
            following.eq(phase),
            self.running.eq(counting),
            self.clear.eq(clear),
            self.launch.eq(phase == Phase.LAUNCH),
            self.halt.eq(halt),
        ]

        # Progress: an engine works, or data move. A program in which nothing does is stuck.
        working = Signal()
        m.d.comb += working.eq(Cat(state[0] for state in self.state).any() | self.progress)
        stuck = Signal(32)
        expired = Signal()
        m.d.comb += expired.eq((self.watchdog != 0) & (stuck >= self.watchdog))
        with m.If(working | (phase != Phase.RUN)):
            m.d.sync += stuck.eq(0)
        with m.Else():
            m.d.sync += stuck.eq(stuck + 1)
        # The first engine that waits for a semaphore is named; if none does, the first that waits for memory.
        stuck_engine = Signal(Engine)
        for bit in (2, 1):
            for engine in reversed(Engine):
                with m.If(self.state[engine][bit]):
                    m.d.comb += stuck_engine.eq(engine)

        fault = Signal()
        code = Signal(Fault)
        engine_at_fault = Signal(Engine)
        index_at_fault = Signal(INDEX_BITS)
        with m.If(expired):
            m.d.comb += [
                fault.eq(1), code.eq(Fault.WATCHDOG), engine_at_fault.eq(stuck_engine),
                index_at_fault.eq(Array(self.head_index)[stuck_engine]),
            ]
        with m.If(self.overflow):
            m.d.comb += [
                fault.eq(1), code.eq(Fault.SEMAPHORE_OVERFLOW),
                engine_at_fault.eq(self.overflow_client), index_at_fault.eq(self.overflow_index),
            ]
        for engine in reversed(Engine):
            source = self.engine_fault[engine]
            with m.If(source.strobe):
                m.d.comb += [
                    fault.eq(1), code.eq(source.code), engine_at_fault.eq(engine), index_at_fault.eq(source.index),
                ]

        with m.Switch(phase):
            with m.Case(Phase.IDLE):
                with m.If(self.start):
                    m.d.comb += following.eq(Phase.CLEAR)
            with m.Case(Phase.CLEAR):
                m.d.comb += following.eq(Phase.LAUNCH)
            with m.Case(Phase.LAUNCH):
                m.d.comb += following.eq(Phase.RUN)
            with m.Case(Phase.RUN):
                with m.If(fault):
                    m.d.comb += following.eq(Phase.STOPPING)
                    m.d.sync += [
                        self.error.eq(1), self.error_code.eq(code),
                        self.error_engine.eq(engine_at_fault), self.error_index.eq(index_at_fault),
                        self.error_row.eq(Mux(self.engine_fault[Engine.LOAD].strobe & (engine_at_fault == Engine.LOAD),
                                              self.load_row, 0)),
                    ]
                with m.Elif(self.halted & self.quiet):
                    m.d.comb += [self.finished.eq(1), following.eq(Phase.ENDED)]
                    m.d.sync += self.done.eq(1)
            with m.Case(Phase.STOPPING):
                with m.If(self.quiet | (self.error_code == Fault.WATCHDOG)):
                    m.d.comb += [self.finished.eq(self.error), following.eq(Phase.ENDED)]
            with m.Case(Phase.ENDED):
                with m.If(self.start & ~self.error):
                    m.d.comb += following.eq(Phase.CLEAR)

        reset_wanted = Signal()
        with m.If(self.soft_reset):
            m.d.sync += reset_wanted.eq(1)
        with m.If(reset_wanted & (phase != Phase.CLEAR)):
            with m.If((phase == Phase.IDLE) | (phase == Phase.ENDED)):
                with m.If(self.quiet):
                    m.d.comb += [forget.eq(1), following.eq(Phase.IDLE)]
                    m.d.sync += reset_wanted.eq(0)
            with m.Elif(phase != Phase.STOPPING):
                # A running program is abandoned: stop as after a fault, without interrupt, then clear.
                m.d.comb += following.eq(Phase.STOPPING)

        with m.If(counting):
            m.d.sync += [self.cycles.eq(self.cycles + 1), self.cube_active.eq(self.cube_active + self.active)]
        with m.If(self.nonfinite & counting):
            m.d.sync += self.nonfinite_seen.eq(1)
        for engine in Engine:
            for i in range(len(ENGINE_STATES)):
                counter = self.counters[len(ENGINE_STATES) * engine + i]
                with m.If(counting & self.state[engine][i]):
                    m.d.sync += counter.eq(counter + 1)
                with m.If(forget | (self.start & ~counting & ~self.error)):
                    m.d.sync += counter.eq(0)
        with m.If(forget | (self.start & ~counting & ~self.error)):
            m.d.sync += [
                self.cycles.eq(0), self.cube_active.eq(0), self.nonfinite_seen.eq(0), self.done.eq(0),
                self.error.eq(0), self.error_code.eq(Fault.NONE), self.error_engine.eq(0), self.error_index.eq(0),
                self.error_row.eq(0),
            ]
        return m
