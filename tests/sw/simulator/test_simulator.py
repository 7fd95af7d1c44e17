"""The command simulator: equal to the golden model to the bit, and strict."""

import random
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from amla.model import mla_decode
from amla.model.cache import fp8_cache, fp8_pages
from amla.rtl.isa import COMMAND_BYTES, HALFWORDS, SEMAPHORE_MAX, Engine, Fault, Opcode, Semaphore
from amla.sw.compiler.memory_map import build_job
from amla.sw.compiler.program import Command, assemble
from amla.sw.run.compare import check_levels, expect
from amla.sw.simulator.simulator import CommandFault, Simulator, simulate
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload
from amla.tb.core.random_jobs import random_job


def _check(workload, config, preload):
    inputs = make_inputs(workload, format=config.format)
    job = build_job(workload, inputs, config, preload=preload)
    out, lse, result = simulate(job)
    golden_out, golden_lse = mla_decode(
        **inputs.arguments(), head_dim_v=workload.head_dim_v, softmax_scale=workload.scale, causal=workload.causal,
        mode=config.mode, numerics=job.numerics)
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


@pytest.mark.parametrize(("width", "columns"), [(32, 32), (512, 512), (992, 512), (1024, 1024)])
def test_any_width(small, width, columns):
    """Dense and by lists, with pages of the most slots and of no power of two."""
    shape = {"name": "x", "heads": 5, "head_dim": width, "head_dim_v": columns, "lengths": (70,), "inputs": "normal"}
    for more in ({"page_size": 1024}, {"page_size": 48, "topk": 20, "sink": True}):
        _check(Workload(**shape, **more), small, 1)


@pytest.mark.parametrize("seed", range(40))
def test_random_workloads(random_case, seed):
    _check(*random_case(seed))


@pytest.mark.parametrize("seed", range(40))
def test_random_jobs_of_every_kind(tiny, seed):
    """FP8 caches, lists and sinks among them, and what no layer gives; the bytes that LOAD and GATHER read, too."""
    case = random_job(random.Random(seed), tiny)
    expected = expect(case.job, case.inputs)
    check_levels(expected, None)
    assert expected.simulated.bytes_read == case.job.bytes_read


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


def _run(config, commands, *, memory=4096, given=()):
    """Run commands on ``memory`` bytes: reads below the middle, the program in the second quarter, writes above.

    ``given`` are arrays with their places in it.
    """
    content = np.zeros(memory, np.uint8)
    for place, array in given:
        content[place:place + array.nbytes] = array.view(np.uint8).reshape(-1)
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
    (Command.build(Opcode.MERGE, mt=1, nt=1, splits=0), Fault.BAD_FIELD, Engine.VECTOR),
    (Command.build(Opcode.MERGE, mt=1, nt=1, splits=1, state=31), Fault.BUFFER_OVERRUN, Engine.VECTOR),
    (Command.build(Opcode.MERGE, mt=1, nt=1, splits=1, sink=31, first=True, sinks=True), Fault.BUFFER_OVERRUN,
     Engine.VECTOR),
    (Command.build(Opcode.FENCE, wait=(Semaphore.Q_FREE,)), Fault.WATCHDOG, Engine.SEQUENCER),
    (Command.build(Opcode.MMAD, wait=(Semaphore.L0_READY,)), Fault.WATCHDOG, Engine.CUBE),
], ids=lambda value: getattr(value, "name", str(value)[:40]))
def test_faults_name_code_engine_and_command(tiny, command, code, engine):
    with pytest.raises(CommandFault, match=f"command 1 .*{code.name}") as caught:
        _run(tiny, [Command.build(Opcode.FENCE), command, _HALT])
    assert (caught.value.code, caught.value.engine, caught.value.index) == (code, engine, 1)


_LIST = 512  # of the tests below, in memory


def _gather(**changes):
    """Of pages of three slots of 16 bytes, in the lowest bytes of memory."""
    return Command.build(Opcode.GATHER, **{"address": _BASE, "list": _BASE + _LIST, "page_bytes": 64, "page_size": 3,
                                           "rows": 4, "rows_padded": 4, "cols": 8, **changes})


def test_gathered_rows(tiny):
    """page · 4 + offset, as 4 is the power of two that holds three slots; negative entries are zeros."""
    data, entries = np.arange(256, dtype=np.uint16), np.array([6, -1, 4, 0], np.int32)
    simulator, result, _ = _run(tiny, [_gather(rows_padded=5, l1=4), _HALT], given=[(0, data), (_LIST, entries)])
    words = simulator.buffers["L1"][4:8]  # two row groups of two words
    rows = words.reshape(2, 2, 4, 4).transpose(0, 2, 1, 3).reshape(8, 8)
    places = [8 * (4 * 1 + 2), None, 8 * 4, 0, None]
    for row, place in zip(rows, places, strict=False):
        assert row.tolist() == ([0] * 8 if place is None else list(range(place, place + 8)))
    assert result.bytes_read == 4 * 4 + 3 * 16


@pytest.mark.parametrize("flag", ["fp8_656", "fp8_584"])
def test_fp8_rows_are_dequantised(tiny, flag):
    """By LOAD and by GATHER to the same words, with the scales that go with each."""
    rng = np.random.default_rng(1)
    if flag == "fp8_656":
        keys, cols, pitch, page = fp8_cache.quantize_fp8(
            rng.standard_normal((3, 576)).astype(ml_dtypes.bfloat16)), 576, 656, 3 * 656
        expected = fp8_cache.dequantize_fp8(keys)
    else:
        pages = fp8_pages.quantize_fp8_pages(rng.standard_normal((1, 3, 512)).astype(ml_dtypes.bfloat16))
        keys, cols, pitch, page = np.ascontiguousarray(pages), 512, 3 * 576, 3 * 592
        expected = fp8_pages.dequantize_fp8_pages(pages, np.arange(3))
    common = {"cols": cols, flag: True}
    commands = [_load(rows=3, rows_padded=3, pitch=pitch, **common),
                _gather(rows=3, rows_padded=3, page_bytes=page, list=_BASE + 2048, l1=256, **common), _HALT]
    simulator, result, _ = _run(tiny, commands, memory=16384,
                                given=[(0, keys), (2048, np.array([2, 0, 1], np.int32))])
    for first, order in ((0, [0, 1, 2]), (256, [2, 0, 1])):
        words = simulator.buffers["L1"][first:first + cols // 4, :3]
        assert np.array_equal(words.transpose(1, 0, 2).reshape(3, cols), expected[order])
    assert result.bytes_read == 2 * keys.nbytes + 12


def test_sinks_go_to_their_buffer(tiny):
    sinks = np.arange(8, dtype=np.float32)
    simulator, _, _ = _run(tiny, [_load(sinks=True, rows=2, rows_padded=3, l1=5), _HALT], given=[(0, sinks)])
    assert simulator.buffers["SINK"][5:8].view(np.float32).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [0] * 4]
    assert (simulator.buffers["L1"] == 0x7FC0).all()


@pytest.mark.parametrize(("command", "code"), [
    (_gather(address=_BASE + 8), Fault.BAD_FIELD),
    (_gather(page_bytes=72), Fault.BAD_FIELD),
    (_gather(list=_BASE + 4), Fault.BAD_FIELD),
    (_gather(page_size=0), Fault.BAD_FIELD),
    (_gather(page_size=1025), Fault.BAD_FIELD),
    (_gather(rows=129, rows_padded=129), Fault.BAD_FIELD),
    (_gather(rows_padded=0), Fault.BAD_FIELD),
    (_gather(cols=4), Fault.BAD_FIELD),
    (_gather(l1=1), Fault.BAD_FIELD),
    (_gather(l1=510, rows_padded=5), Fault.BUFFER_OVERRUN),
    (_gather(list=_BASE + 2048), Fault.READ_WINDOW),
    (_gather(list=_BASE + 2032, rows=5, rows_padded=5), Fault.READ_WINDOW),
    (_load(fp8_656=True, fp8_584=True, cols=576), Fault.BAD_FIELD),
    (_load(fp8_656=True, cols=512), Fault.BAD_FIELD),
    (_load(fp8_584=True, cols=512, pitch=12), Fault.BAD_FIELD),
    (_load(fp8_656=True, cols=576, rows=129, rows_padded=129), Fault.BAD_FIELD),
    (_load(fp8_656=True, cols=576, address=_BASE + 2048 - 640), Fault.READ_WINDOW),
    (_load(fp8_584=True, cols=512, pitch=2048), Fault.READ_WINDOW),
    (_load(sinks=True, cols=16), Fault.BAD_FIELD),
    (_load(sinks=True, fp8_656=True, cols=576), Fault.BAD_FIELD),
    (_load(sinks=True, l1=31), Fault.BUFFER_OVERRUN),
], ids=lambda value: getattr(value, "name", str(value)[:60]))
def test_faults_of_other_rows(tiny, command, code):
    with pytest.raises(CommandFault, match=f"command 0 \\(load\\): {code.name}") as caught:
        _run(tiny, [command, _HALT])
    assert (caught.value.code, caught.value.row) == (code, 0)


def test_fp8_needs_a_core_that_reads_it(tiny):
    with pytest.raises(CommandFault, match="BAD_FIELD: fp8_656 on tiny, which reads no FP8"):
        _run(replace(tiny, format="fp16"), [_load(fp8_656=True, cols=576), _HALT])


@pytest.mark.parametrize(("entries", "row", "changes"), [
    ([1, -1, 128, 3], 2, {}),
    ([1, 2, 0, 3, 128], 3, {}),  # no page has a fourth slot
    ([-1, (1 << 31) - 1], 1, {}),
    ([4, 0], 1, {"address": _BASE - 64}),
    ([-1, 1], 1, {"address": _BASE + 2048 - 592 - 576, "page_bytes": 592, "page_size": 1, "cols": 512,
                  "fp8_584": True}),
])
def test_the_first_entry_at_fault_is_named(tiny, entries, row, changes):
    command = _gather(**{"rows": len(entries), "rows_padded": len(entries), **changes})
    with pytest.raises(CommandFault, match=rf"command 0 \(load\), row {row}: READ_WINDOW") as caught:
        _run(tiny, [command, _HALT], given=[(_LIST, np.array(entries, np.int32))])
    assert (caught.value.code, caught.value.row) == (Fault.READ_WINDOW, row)


@pytest.mark.parametrize(("command", "row", "code"), [
    (_load(address=_BASE + 4064, rows=4), 2, Fault.READ_DECERR),
    (_load(address=_BASE + 4096 - 656 - 16, rows=2, fp8_656=True, cols=576), 1, Fault.READ_DECERR),
    (_load(rows=3, fp8_584=True, cols=512, pitch=4096 - 16), 2, Fault.READ_DECERR),
    (_load(address=_BASE + 4096, rows=3, fp8_584=True, cols=512, pitch=(1 << 20) - 4096), 0, Fault.READ_WINDOW),
    (_load(address=_BASE + 4096 - 16, rows=2, sinks=True), 1, Fault.READ_DECERR),
    (_gather(list=_BASE + 4096 - 16, rows=6, rows_padded=6), 4, Fault.READ_DECERR),
    (_gather(list=_BASE + 8192), 0, Fault.READ_DECERR),
    (_gather(address=_BASE + 4096 - 64), 2, Fault.READ_DECERR),
], ids=lambda value: getattr(value, "name", str(value)[:60]))
def test_rows_to_which_no_memory_answers(tiny, command, row, code):
    """The window is checked first, and of all; then the first row without an answer is named."""
    content = np.zeros(4096, np.uint8)
    content[_LIST:_LIST + 16] = np.array([0, -1, 4, 5], "<i4").view(np.uint8)
    content[-16:] = np.array([0, -1, -1, 2], "<i4").view(np.uint8)
    binary = np.frombuffer(assemble([command, _HALT]), np.uint8)
    content[1024:1024 + len(binary)] = binary
    simulator = Simulator(tiny, content, base=_BASE, read_window=(_BASE, _BASE + (1 << 20)), write_window=(0, 0),
                          scale_word=0)
    with pytest.raises(CommandFault) as caught:
        simulator.run(_BASE + 1024, len(binary) // 2)
    assert (caught.value.code, caught.value.row) == (code, row)


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
