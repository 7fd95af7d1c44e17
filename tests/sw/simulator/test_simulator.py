"""The command simulator: equal to the golden model to the bit, and strict."""

from dataclasses import replace

import numpy as np
import pytest
from amla.model import mla_decode
from amla.rtl.isa import COMMAND_BYTES, HALFWORDS, SEMAPHORE_MAX, Engine, Fault, Opcode, Semaphore
from amla.sw.compiler.memory_map import build_job
from amla.sw.compiler.program import Command, assemble
from amla.sw.simulator.simulator import CommandFault, Simulator, simulate
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload


def _check(workload, config, preload):
    inputs = make_inputs(workload, format=config.format)
    job = build_job(workload, inputs, config, preload=preload)
    out, lse, result = simulate(job)
    golden_out, golden_lse = mla_decode(
        inputs.q, inputs.kv_cache, inputs.block_table, inputs.cache_seqlens, head_dim_v=workload.head_dim_v,
        softmax_scale=workload.scale, causal=workload.causal, mode=config.mode, numerics=job.numerics)
    assert np.array_equal(out.view(np.uint16), golden_out.view(np.uint16))
    assert np.array_equal(lse.view(np.uint32), golden_lse.view(np.uint32))
    assert (result.writer >= 0).all() and result.commands == len(job.program)
    assert result.bytes_read == job.bytes_read
    return job, result


@pytest.mark.parametrize("preload", [0, 1, 2])
def test_tiny_workload(tiny, tiny_workload, preload):
    _check(tiny_workload, tiny, preload)


@pytest.mark.parametrize("name", ["decode", "decode-mtp", "single"])
def test_main_workloads(small, name):
    _check(Workload.load(name), small, 1)


@pytest.mark.parametrize("name", ["decode", "decode-mtp"])
def test_main_workloads_in_fp16(small, name):
    _check(Workload.load(name), replace(small, format="fp16"), 1)


@pytest.mark.parametrize("seed", range(40))
def test_random_workloads(random_case, seed):
    _check(*random_case(seed))


def test_special_values(tiny):
    """NaN and infinities in valid data take the same way as in the golden model."""
    load = Workload(name="x", heads=5, q_tokens=2, causal=True, head_dim=24, head_dim_v=16, lengths=(40, 3),
                    page_size=16)
    inputs = make_inputs(load)
    rng = np.random.default_rng(3)
    for value in (np.nan, np.inf, -np.inf, 3e38):
        inputs.q[tuple(rng.integers(inputs.q.shape))] = value
        inputs.kv_cache[inputs.block_table[0, 1], rng.integers(16), 0, rng.integers(24)] = value
    job = build_job(load, inputs, tiny)
    out, lse, _ = simulate(job)
    golden = mla_decode(inputs.q, inputs.kv_cache, inputs.block_table, inputs.cache_seqlens, head_dim_v=16,
                        softmax_scale=load.scale, causal=True, numerics=job.numerics)
    assert np.array_equal(out.view(np.uint16),
                          golden[0].view(np.uint16)) and np.isnan(out.astype(np.float32)).any()
    assert np.array_equal(lse.view(np.uint32), golden[1].view(np.uint32))


def test_requests_are_independent(tiny, tiny_workload, make_job):
    """Poisoned neighbours change nothing: each request alone gives the bits it has in the batch."""
    job, inputs = make_job()
    out, lse, _ = simulate(job)
    for request, length in enumerate(tiny_workload.lengths):
        alone = type(inputs)(q=inputs.q[request:request + 1], kv_cache=inputs.kv_cache,
                             block_table=inputs.block_table[request:request + 1],
                             cache_seqlens=inputs.cache_seqlens[request:request + 1])
        single = build_job(replace(tiny_workload, lengths=(length,)), alone, tiny)
        out_alone, lse_alone, _ = simulate(single)
        assert np.array_equal(out_alone[0].view(np.uint16), out[request].view(np.uint16))
        assert np.array_equal(lse_alone[0].view(np.uint32), lse[request].view(np.uint32))


_BASE = 0x1000


def _run(config, commands, *, memory=4096):
    """Run commands on ``memory`` bytes: reads below the middle, the program in the second quarter, writes above."""
    content = np.zeros(memory, np.uint8)
    binary = np.frombuffer(assemble(commands), np.uint8)
    content[memory // 4:memory // 4 + len(binary)] = binary
    simulator = Simulator(config, content, base=_BASE, read_window=(_BASE, _BASE + memory // 2),
                          write_window=(_BASE + memory // 2, _BASE + memory), scale_word=0x3F800000)
    return simulator, simulator.run(_BASE + memory // 4, len(binary) // 2), content


_HALT = Command.build(Opcode.HALT)


def _load(**changes):
    return Command.build(Opcode.LOAD,
                         **{"address": _BASE, "pitch": 16, "rows": 1, "rows_padded": 4, "cols": 8, **changes})


def _store(**changes):
    return Command.build(Opcode.STORE,
                         **{"address": _BASE + 2048, "pitch": 16, "rows": 1, "cols": 8, **changes})


@pytest.mark.parametrize(("command", "code", "engine"), [
    (_load(address=_BASE - 16), Fault.READ_WINDOW, Engine.LOAD),
    (_load(address=_BASE + 2048), Fault.READ_WINDOW, Engine.LOAD),
    (_load(address=_BASE + 2016, rows=3), Fault.READ_WINDOW, Engine.LOAD),
    (_load(address=_BASE + 8), Fault.BAD_FIELD, Engine.LOAD),
    (_load(pitch=24), Fault.BAD_FIELD, Engine.LOAD),
    (_load(cols=4), Fault.BAD_FIELD, Engine.LOAD),
    (_load(cols=0), Fault.BAD_FIELD, Engine.LOAD),
    (_load(rows_padded=0), Fault.BAD_FIELD, Engine.LOAD),
    (_load(l1=1), Fault.BAD_FIELD, Engine.LOAD),
    (_load(l1=2048), Fault.BUFFER_OVERRUN, Engine.LOAD),
    (_load(l1=2046, rows_padded=5), Fault.BUFFER_OVERRUN, Engine.LOAD),
    (_store(address=_BASE), Fault.WRITE_WINDOW, Engine.STORE),
    (_store(address=_BASE + 4080, rows=2), Fault.WRITE_WINDOW, Engine.STORE),
    (_store(address=_BASE + 4096, rows=1, lse=True), Fault.WRITE_WINDOW, Engine.STORE),
    (_store(rows=0), Fault.BAD_FIELD, Engine.STORE),
    (_store(out=32), Fault.BUFFER_OVERRUN, Engine.STORE),
    (Command.build(Opcode.FEED_A, outer=0, inner=1), Fault.BAD_FIELD, Engine.FEED),
    (Command.build(Opcode.FEED_A, outer=2, inner=1, l0=127), Fault.BUFFER_OVERRUN, Engine.FEED),
    (Command.build(Opcode.FEED_B, outer=2, inner=1, outer_stride=2048), Fault.BUFFER_OVERRUN, Engine.FEED),
    (Command.build(Opcode.MMAD, mt=1, nt=1), Fault.BAD_FIELD, Engine.CUBE),
    (Command.build(Opcode.MMAD, mt=65, nt=1, kt=1), Fault.BUFFER_OVERRUN, Engine.CUBE),
    (Command.build(Opcode.DRAIN_S, mt=1, nt=1, s=511), Fault.BUFFER_OVERRUN, Engine.DRAIN),
    (Command.build(Opcode.DRAIN_O, mt=1, nt=1, o=255, first=True), Fault.BUFFER_OVERRUN, Engine.DRAIN),
    (Command.build(Opcode.SOFTMAX, mt=1, kt=1, p=2048), Fault.BUFFER_OVERRUN, Engine.VECTOR),
    (Command.build(Opcode.NORMALIZE, mt=1, nt=0), Fault.BAD_FIELD, Engine.VECTOR),
    (Command.build(Opcode.FENCE, wait=(Semaphore.Q_FREE,)), Fault.WATCHDOG, Engine.SEQUENCER),
    (Command.build(Opcode.MMAD, wait=(Semaphore.L0_READY,)), Fault.WATCHDOG, Engine.CUBE),
], ids=lambda value: getattr(value, "name", str(value)[:40]))
def test_faults_name_code_engine_and_command(tiny, command, code, engine):
    with pytest.raises(CommandFault, match=f"command 1 .*{code.name}") as caught:
        _run(tiny, [Command.build(Opcode.FENCE), command, _HALT])
    assert (caught.value.code, caught.value.engine, caught.value.index) == (code, engine, 1)


@pytest.mark.parametrize(("command", "code"), [
    (_load(address=0, pitch=24, l1=2048), Fault.BAD_FIELD),
    (_load(address=0, l1=2048), Fault.BUFFER_OVERRUN),
    (_load(address=_BASE, rows=0, rows_padded=65535, cols=65528), Fault.BUFFER_OVERRUN),
    (_store(address=0, pitch=24, out=32), Fault.BAD_FIELD),
    (_store(address=0, out=32), Fault.BUFFER_OVERRUN),
    (Command.build(Opcode.FEED_B, outer=65535, inner=65535), Fault.BUFFER_OVERRUN),
    (Command.build(Opcode.MMAD, mt=65535, nt=65535, kt=65535), Fault.BUFFER_OVERRUN),
    (Command.build(Opcode.SOFTMAX, mt=65535, kt=65535), Fault.BUFFER_OVERRUN),
    (_load(address=0, cols=4, wait=(Semaphore.L0_READY,)), Fault.WATCHDOG),
    (Command.build(Opcode.HALT, wait=(Semaphore.L0_READY,)), Fault.WATCHDOG),
], ids=lambda value: getattr(value, "name", str(value)[:40]))
def test_the_first_check_in_order_names_the_fault(tiny, command, code):
    """Semaphores, then fields, buffers, window: whatever else is wrong, and whatever a count would take in memory."""
    with pytest.raises(CommandFault) as caught:
        _run(tiny, [command, _HALT])
    assert (caught.value.code, caught.value.index) == (code, 0)


_TOP = 1 << 40  # tiny has 40 address bits


@pytest.mark.parametrize(("base", "limit", "address", "code"), [
    (_TOP - 64, _TOP, _TOP - 64, None),
    (0, (1 << 64) - 1, _TOP - 64, None),
    (0, (1 << 64) - 1, _TOP - 32, Fault.READ_WINDOW),  # HALT would be past the end
    (_TOP, _TOP + 64, _TOP, Fault.READ_WINDOW),
    (0, _TOP, _TOP - 128, Fault.READ_DECERR),  # no memory there
    (0, _TOP, _TOP - 60, Fault.BAD_FIELD),
])
def test_a_program_at_the_end_of_the_address_space(tiny, base, limit, address, code):
    words = (Command.build(Opcode.FENCE).encode(), _HALT.encode())
    content = np.frombuffer(b"".join(word.to_bytes(COMMAND_BYTES, "little") for word in words), np.uint8)
    if address == _TOP - 32:
        content = content[:32]
    simulator = Simulator(tiny, content, base=_TOP - len(content), read_window=(base, limit), write_window=(0, limit),
                          scale_word=0)
    if code is None:
        assert simulator.run(address, 2 * HALFWORDS).commands == 2
        return
    with pytest.raises(CommandFault) as caught:
        simulator.run(address, 2 * HALFWORDS)
    assert (caught.value.code, caught.value.engine) == (code, Engine.SEQUENCER)
    assert caught.value.index == int(address == _TOP - 32)


def test_semaphore_overflow(tiny):
    commands = [Command.build(Opcode.FENCE, signal=(Semaphore.S_FREE,))] * (SEMAPHORE_MAX + 1)
    with pytest.raises(CommandFault) as caught:
        _run(tiny, [*commands, _HALT], memory=16384)
    assert (caught.value.code, caught.value.index) == (Fault.SEMAPHORE_OVERFLOW, SEMAPHORE_MAX)


def test_truncated_program_and_unknown_opcode(tiny):
    with pytest.raises(CommandFault) as caught:
        _run(tiny, [Command.build(Opcode.FENCE)] * 3)
    assert (caught.value.code, caught.value.engine, caught.value.index) == (
        Fault.TRUNCATED_PROGRAM, Engine.SEQUENCER, 3)
    content = np.full(64, 0xEE, np.uint8)
    simulator = Simulator(tiny, content, base=0, read_window=(0, 64), write_window=(0, 0), scale_word=0)
    with pytest.raises(CommandFault) as caught:
        simulator.run(0, 2 * HALFWORDS)
    assert (caught.value.code, caught.value.index) == (Fault.UNKNOWN_OPCODE, 0)


def test_what_nobody_wrote_is_nan(tiny):
    """STORE of an OUT buffer that nothing filled: NaN, and only inside its rows."""
    _, result, content = _run(tiny, [_store(rows=3), _HALT])
    assert (content[2048:2096].view(np.uint16) == 0x7FC0).all() and not content[2096:4096].any()
    assert result.writer[:3].tolist() == [0, 0, 0] and (result.writer[3:] == -1).all()
    assert result.bytes_written == 48


def test_lse_store_touches_only_its_rows(tiny):
    _, _, content = _run(tiny, [_store(rows=5, lse=True), _HALT])
    written = content[2048:2080].view(np.uint32)
    assert (written[:5] == 0x7FC00000).all() and not written[5:].any()


def test_padding_rows_are_zero(tiny):
    """Rows past ``rows`` are zeros, whatever memory and L1 hold."""
    load = _load(rows=1, rows_padded=4)
    simulator, result, _ = _run(tiny, [load, _HALT])
    words = simulator.buffers["L1"][:2]
    assert not words.any() and result.bytes_read == 16
    assert (simulator.buffers["L1"][2:] == 0x7FC0).all()


def test_counters_are_zero_after_a_job(make_job):
    job, _ = make_job()
    memory = job.memory.copy()
    simulator = Simulator(job.config, memory, base=job.base, read_window=job.program.read_window,
                          write_window=job.program.write_window, scale_word=job.program.scale_word)
    simulator.run(job.program.symbols["PROGRAM"], job.registers["PROGRAM_LENGTH"])
    assert not any(simulator.semaphores.values())
    start, stop = job.output_base - job.base, job.output_base - job.base + job.output_bytes
    assert np.array_equal(memory[stop:], job.memory[stop:]) and np.array_equal(memory[:start],
                                                                               job.memory[:start])
