"""The AMLA core: sequencer, six engines, their buffers, and the AXI ports."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .config import MODES, P_FORMATS, CoreConfig
from .engines.cube import Cube
from .engines.drain import Drain
from .engines.feed import Feed
from .engines.load import Load
from .engines.store import Store
from .engines.vector import Vector
from .fp.nets import register
from .fp.word import OPERANDS
from .host import csr
from .host.axi import ReadArbiter, axi4_ports, connect_axi4
from .host.control import Control
from .host.registers import AxiLiteSignature, Registers
from .isa import ENGINE_STATES, INDEX_BITS, MAX_LENGTH, Engine
from .issue.dispatch import EngineQueue
from .issue.semaphores import Semaphores
from .issue.sequencer import Sequencer
from .two_banks import TwoBanks

__all__ = ["INTERFACE_VERSION", "AmlaCore"]

#: major << 16 | minor, in the register VERSION.
INTERFACE_VERSION = 1 << 16

#: State of an engine that nothing has been observed of.
_IDLE = 1 << list(ENGINE_STATES).index("IDLE")


class AmlaCore(wiring.Component):
    """One core: runs a program of commands on data in memory.

    A host writes program and data to memory, sets the registers (``csr.py``) and START; the core fetches
    commands, runs its engines concurrently and raises ``irq``. See ``docs/architecture.md``.

    **Latency** and **throughput**: one fractal triple (m·n·k multiply-accumulates) per cycle at best; the
    counters tell how many of the cycles from START to the interrupt reached it.

    Parameters
    ----------
    config: sizes and arithmetic parameters.

    Members
    -------
    s_axil_*: AXI4-Lite subordinate, the registers
    m_axi_*:  AXI4 manager, all data
    irq:      level, IRQ.PENDING & IRQ_ENABLE.ENABLE
    trace_*:  start and end of every command: ``trace_valid`` says that some lane has an event, lane e of
              ``trace_start``/``trace_end`` is engine e's, with the command's index
    """

    #: All cores of a design are of one configuration.
    leaf_name = "amla_core"

    def __init__(self, config: CoreConfig):
        self.config = config
        address, width = config.axi_address_bits, 8 * config.axi_data_bytes
        lanes = len(Engine)
        super().__init__({
            **{f"s_axil_{name}": member for name, member in AxiLiteSignature.members.items()},
            **axi4_ports(address, width, 1),
            "irq": Out(1),
            "trace_valid": Out(1), "trace_start": Out(lanes), "trace_end": Out(lanes),
            "trace_start_index": Out(INDEX_BITS * lanes), "trace_end_index": Out(INDEX_BITS * lanes),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config

        m.submodules.registers = registers = Registers()
        m.submodules.control = control = Control()
        clear = ResetInserter(control.clear)

        sequencer = Sequencer(config)
        semaphores = Semaphores()
        arbiter = ReadArbiter(config.axi_address_bits, 8 * config.axi_data_bytes, clients=2)
        engines: dict[Engine, Any] = {
            Engine.LOAD: Load(config), Engine.FEED: Feed(config), Engine.CUBE: Cube(config),
            Engine.DRAIN: Drain(config), Engine.VECTOR: Vector(config), Engine.STORE: Store(config),
        }
        m.submodules.sequencer = clear(sequencer)
        m.submodules.semaphores = clear(semaphores)
        m.submodules.arbiter = clear(arbiter)
        queues = {}
        for engine, component in engines.items():
            name = engine.name.lower()
            queues[engine] = queue = EngineQueue(depth=config.queue_depth)
            m.submodules[name] = clear(component)
            m.submodules[f"{name}_queue"] = clear(queue)
            wiring.connect(m, sequencer.push[engine - Engine.LOAD], queue.push)
            wiring.connect(m, queue.semaphores, semaphores.port[engine])
            m.d.comb += [
                component.start.payload.eq(queue.engine.start.payload),
                component.start.valid.eq(queue.engine.start.valid),
                queue.engine.start.ready.eq(component.start.ready),
                queue.engine.done.eq(component.done),
                queue.engine.stall.eq(component.stall),
                queue.engine.fault.eq(component.fault),
                queue.engine.fault_code.eq(component.fault_code),
                queue.stop.eq(control.halt),
            ]
        wiring.connect(m, sequencer.semaphores, semaphores.port[Engine.SEQUENCER])
        m.d.comb += [
            sequencer.drained.eq(Cat(queue.empty for queue in queues.values()).all()),
            control.overflow.eq(semaphores.overflow),
            control.overflow_client.eq(semaphores.overflow_client),
        ]
        # The command that signals is the oldest of its engine.
        for engine in Engine:
            with m.If(semaphores.overflow_client == engine):
                m.d.comb += control.overflow_index.eq(control.head_index[engine])

        self._observe(m, control, sequencer, queues)
        m.d.sync += control.load_row.eq(engines[Engine.LOAD].fault_row)  # a cycle later, as the fault
        self._connect_buffers(m, engines)
        self._connect_axi(m, control, registers, arbiter, sequencer, engines)
        self._connect_registers(m, control, registers, sequencer, engines)

        traces = [sequencer.trace, *(queue.trace for queue in queues.values())]
        m.d.comb += [
            self.trace_start.eq(Cat(trace.start for trace in traces)),
            self.trace_end.eq(Cat(trace.end for trace in traces)),
            self.trace_start_index.eq(Cat(trace.start_index for trace in traces)),
            self.trace_end_index.eq(Cat(trace.end_index for trace in traces)),
            self.trace_valid.eq(self.trace_start.any() | self.trace_end.any()),
        ]
        return m

    @staticmethod
    def _observe(m, control, sequencer, queues):
        """Faults, states and indices of the engines as the control unit sees them: a cycle later."""
        observed = {Engine.SEQUENCER: (sequencer, sequencer.index)}
        observed |= {engine: (queue, queue.head_index) for engine, queue in queues.items()}
        for engine, (source, index) in observed.items():
            fault = control.engine_fault[engine]
            strobe, state = Signal(name=f"{engine.name.lower()}_fault"), Signal.like(source.state, init=_IDLE)
            late = [Signal.like(source.fault_code, reset_less=True), Signal.like(index, reset_less=True)]
            m.d.sync += [strobe.eq(source.fault), state.eq(source.state), late[0].eq(source.fault_code),
                         late[1].eq(index)]
            m.d.comb += [fault.strobe.eq(strobe), fault.code.eq(late[0]), fault.index.eq(late[1]),
                         control.state[engine].eq(state), control.head_index[engine].eq(late[1])]

    def _connect_buffers(self, m, engines):
        """Instantiate the buffers and connect each to the engines' ports."""
        load, feed, cube = engines[Engine.LOAD], engines[Engine.FEED], engines[Engine.CUBE]
        drain, vector, store = engines[Engine.DRAIN], engines[Engine.VECTOR], engines[Engine.STORE]
        config = self.config
        state = config.state_words
        self._buffer(m, "l0a", config.l0a_words, feed.l0a, cube.l0a)
        self._buffer(m, "l0b", config.l0b_words, feed.l0b, cube.l0b)
        self._two_banks(m, "l0c", config.l0c_words, cube.l0c_write, cube.l0c_read, drain.l0c, drain.l0c_ready)
        self._buffer(m, "s", config.s_words, drain.s, vector.s)
        # A copy for each reader: a bank would make one of them wait.
        self._buffer(m, "rowmax_drain", state, drain.rowmax_write, drain.rowmax_read)
        self._buffer(m, "rowmax_vector", state, drain.rowmax_write, vector.rowmax)
        self._buffer(m, "offsets", state, vector.offsets, drain.offsets)
        self._two_banks(m, "o", config.o_words, drain.o_write, vector.o, drain.o_read, drain.o_ready)
        self._buffer(m, "out", config.out_words, vector.out, store.out)
        self._buffer(m, "lse", state, vector.lse, store.lse)
        self._buffer(m, "sink", state, load.sink, vector.sink)

        # L1: the vector's word of P has priority over load's row; load holds its beat meanwhile. Of the readers feed
        # has priority: the vector waits as long as there is anything to feed.
        banks = config.l1_banks
        bank_bits = exact_log2(banks)
        rows = max(config.m, config.n)
        p_bank = vector.p_address[:bank_bits]
        m.d.comb += [load.l1_ready.eq(~vector.p_valid), load.writing.eq(store.sending),
                     vector.l1_ready.eq(feed.l1_free)]
        for bank in range(banks):
            m.submodules[f"l1_{bank}"] = cells = memory.Memory(
                shape=rows * config.k * 16, depth=config.l1_words // banks, init=[])
            write = cells.write_port(granularity=config.k * 16)
            read, feeds, merges = cells.read_port(), feed.l1[bank], vector.l1[bank]
            m.d.comb += [
                read.addr.eq(Mux(feeds.en, feeds.addr, merges.addr)), read.en.eq(feeds.en | merges.en),
                feeds.data.eq(read.data), merges.data.eq(read.data),
                write.addr.eq(load.l1[bank].addr), write.data.eq(load.l1[bank].data), write.en.eq(load.l1[bank].en),
            ]
            with m.If(vector.p_valid):
                m.d.comb += [
                    write.addr.eq(vector.p_address >> bank_bits),
                    write.data.eq(vector.p_data),
                    write.en.eq(((1 << config.m) - 1) if banks == 1
                                else (p_bank == bank).replicate(config.m)),
                ]

    @staticmethod
    def _buffer(m, name, depth, writer, reader):
        m.submodules[name] = cells = memory.Memory(shape=writer.signature.shape, depth=depth, init=[])
        wiring.connect(m, writer, cells.write_port(granularity=writer.signature.granularity))
        wiring.connect(m, reader, cells.read_port())

    @staticmethod
    def _two_banks(m, name, depth, writer, reader, other, other_ready):
        m.submodules[name] = cells = TwoBanks(shape=writer.signature.shape, depth=depth)
        wiring.connect(m, writer, cells.write)
        wiring.connect(m, reader, cells.read)
        wiring.connect(m, other, cells.other)
        m.d.comb += other_ready.eq(cells.other_ready)

    def _connect_axi(self, m, control, registers, arbiter, sequencer, engines):
        """Connect the AXI4 channels, and the windows."""
        load, store = engines[Engine.LOAD], engines[Engine.STORE]
        wiring.connect(m, sequencer.axi, arbiter.clients[0])
        wiring.connect(m, load.axi, arbiter.clients[1])
        connect_axi4(m, self, read=arbiter.bus, write=store.axi, outwards=True)

        # An address past the address space counts as its end, so that no bit of a register is forgotten.
        stored = registers.stored
        windows = {
            name: register(m, _at_most(1 << self.config.axi_address_bits,
                                       Cat(getattr(stored, f"{name}_LO"), getattr(stored, f"{name}_HI"))),
                           name=name.lower())
            for name in ("READ_BASE", "READ_LIMIT", "WRITE_BASE", "WRITE_LIMIT", "PROGRAM_BASE")
        }
        for reader in (sequencer, load):
            m.d.comb += [
                reader.window_base.eq(windows["READ_BASE"]), reader.window_limit.eq(windows["READ_LIMIT"]),
            ]
        m.d.comb += [
            store.window_base.eq(windows["WRITE_BASE"]), store.window_limit.eq(windows["WRITE_LIMIT"]),
            sequencer.base.eq(windows["PROGRAM_BASE"]),
            sequencer.length.eq(_at_most(MAX_LENGTH, stored.PROGRAM_LENGTH)),
            sequencer.start.eq(control.launch), control.halted.eq(sequencer.halted),
            control.quiet.eq(sequencer.quiet & load.quiet & store.quiet),
            control.progress.eq((self.m_axi_rvalid & self.m_axi_rready) | (self.m_axi_wvalid & self.m_axi_wready)
                                | (self.m_axi_bvalid & self.m_axi_bready)),
        ]
        m.d.comb += [unit.halt.eq(control.halt) for unit in (sequencer, load, store)]

    def _connect_registers(self, m, control, registers, sequencer, engines):
        """Connect the register map to the control unit."""
        config = self.config
        vector = engines[Engine.VECTOR]
        for name, member in AxiLiteSignature.members.items():
            inner, outer = getattr(registers.bus, name), getattr(self, f"s_axil_{name}")
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)

        pending = Signal()
        with m.If(registers.written.IRQ[0]):
            m.d.sync += pending.eq(0)
        with m.If(control.finished):
            m.d.sync += pending.eq(1)
        m.d.comb += self.irq.eq(pending & registers.stored.IRQ_ENABLE[0])
        value, stored = registers.value, registers.stored
        m.d.comb += [
            control.start.eq(registers.written.CTRL[0]),
            control.soft_reset.eq(registers.written.CTRL[1]),
            control.watchdog.eq(stored.WATCHDOG),
            control.active.eq(engines[Engine.CUBE].active),
            control.nonfinite.eq(vector.nonfinite),
            vector.scale.eq(stored.SCALE),
            value.ID.eq(csr.ID_VALUE),
            value.VERSION.eq(INTERFACE_VERSION),
            value.CUBE.eq(config.m | config.n << 8 | config.k << 16 | config.lanes << 24),
            value.NUMERICS.eq(config.acc_frac_bits | config.comp_bits << 8 | MODES.index(config.mode) << 16
                              | list(OPERANDS).index(config.format) << 20 | P_FORMATS.index(config.p_format) << 23
                              | config.axi_data_bytes << 24),
            value.STATUS.eq(Cat(control.running, control.done, control.error, control.nonfinite_seen, control.quiet)),
            value.IRQ.eq(pending),
            value.ERROR_CODE.eq(control.error_code),
            value.ERROR_ENGINE.eq(control.error_engine),
            value.ERROR_INDEX.eq(control.error_index),
            value.ERROR_ROW.eq(control.error_row),
            value.CYCLES.eq(control.cycles),
            value.CUBE_ACTIVE.eq(control.cube_active),
        ]
        for engine in Engine:
            for i, state in enumerate(ENGINE_STATES):
                m.d.comb += getattr(value, f"{engine.name}_{state}").eq(
                    control.counters[len(ENGINE_STATES) * engine + i])


def _at_most(most: int, value: Value) -> Value:
    return Mux(value > most, most, value)
