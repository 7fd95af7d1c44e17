"""Jobs: layout of GM, windows, registers, unpacking."""

from dataclasses import replace

import numpy as np
import pytest
from amla.rtl.host.csr import REGISTERS
from amla.rtl.isa import Opcode
from amla.sw.compiler.memory_map import build_job
from amla.sw.compiler.program import disassemble
from amla.sw.errors import AmlaError
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.simulator.simulator import simulate
from amla.sw.workload.extra import ExtraCache
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload


def test_memory_holds_inputs_and_program(make_job):
    job, inputs = make_job()
    symbols, base = job.program.symbols, job.base
    for name, array in (("Q", inputs.q), ("KV", inputs.kv_cache)):
        stored = job.memory[symbols[name] - base:][:array.nbytes]
        assert np.array_equal(stored, np.ascontiguousarray(array).view(np.uint8).ravel()), name
    binary = job.memory[symbols["PROGRAM"] - base:][:len(job.program.binary)].tobytes()
    assert binary == job.program.binary and disassemble(binary) == list(job.program.commands)


def test_the_order_is_made_for_the_memory(small):
    """The same commands, in the order in which they are expected to start beside that memory."""
    load = Workload.load("single")
    inputs = make_inputs(load)
    ideal, far = (build_job(load, inputs, small, memory=memory) for memory in (IDEAL, Memory.load("far")))
    assert far.plan.memory == Memory.load("far") and ideal.plan.memory == build_job(load, inputs, small).plan.memory
    assert far.program.commands != ideal.program.commands
    assert sorted(map(str, far.program.commands)) == sorted(map(str, ideal.program.commands))


def test_windows_are_tight_and_apart(make_job):
    job, _ = make_job()
    (read, read_limit), (write, write_limit) = job.program.read_window, job.program.write_window
    beat, symbols = job.config.axi_data_bytes, job.program.symbols
    program_end = symbols["PROGRAM"] + len(job.program.binary)
    assert read == symbols["Q"] and read_limit - program_end in range(beat)
    rows = job.workload.rows * 3
    assert write == symbols["O"] and write_limit == symbols["LSE"] + 3 * 4 * beat
    assert symbols["LSE"] - symbols["O"] - 2 * rows * 32 in range(beat)
    assert read - write_limit >= 4096 and min(read, write) > 0
    assert len(job.memory) == max(read_limit, write_limit) - job.base
    assert (job.memory[write_limit - job.base:read - job.base] == 0xA5).all()


def test_registers_exist_and_hold_the_addresses(make_job):
    job, _ = make_job()
    assert set(job.registers) <= set(REGISTERS)
    whole = {name: job.registers[f"{name}_LO"] | job.registers[f"{name}_HI"] << 32
             for name in ("PROGRAM_BASE", "READ_BASE", "READ_LIMIT", "WRITE_BASE", "WRITE_LIMIT")}
    assert whole["PROGRAM_BASE"] == job.program.symbols["PROGRAM"]
    assert (whole["READ_BASE"], whole["READ_LIMIT"]) == job.program.read_window
    assert (whole["WRITE_BASE"], whole["WRITE_LIMIT"]) == job.program.write_window
    assert job.registers["PROGRAM_LENGTH"] == len(job.program.binary) // 2
    expected = np.float32(job.workload.scale * np.log2(np.e)).view(np.uint32)
    assert job.registers["SCALE"] == expected


def test_addresses_fit_narrow_buses(make_job, tiny, tiny_workload):
    job, _ = make_job(config=replace(tiny, axi_address_bits=17))
    assert job.base == 0x1000 and job.program.read_window[1] <= 1 << 17
    with pytest.raises(AmlaError, match=r"memory ends at 0x[0-9a-f]+, past the 16 address bits of tiny"):
        make_job(config=replace(tiny, axi_address_bits=16), workload=replace(tiny_workload, lengths=(600,)))


def test_unpack_finds_every_element(make_job):
    """Each element of O and LSE is read from the place where output_beat says it is."""
    load = Workload(name="x", heads=3, q_tokens=2, head_dim=24, head_dim_v=16, lengths=(5, 9))
    job, _ = make_job(load)
    beat = job.config.axi_data_bytes
    region = np.zeros(job.output_bytes, np.uint8)
    out, lse = job.unpack(region)
    assert out.shape == (2, 2, 3, 16) and lse.shape == (2, 3, 2) and lse.dtype == np.float32
    for array, values in (("O", out), ("LSE", lse)):
        for index in np.ndindex(values.shape):
            marked = region.copy()
            start = job.output_beat(array, index) * beat
            marked[start:start + beat] = 0x3F
            changed = job.unpack(marked)[array == "LSE"]
            assert changed[index] != 0, (array, index)


def test_unpack_wants_the_whole_region(make_job):
    job, _ = make_job()
    with pytest.raises(ValueError, match=f"output must be {job.output_bytes} bytes, not shape"):
        job.unpack(bytes(3))


def test_workload_and_inputs_must_agree(tiny, tiny_workload):
    inputs = make_inputs(tiny_workload)
    for change, name in (({"heads": 4}, "q"), ({"page_size": 8}, "page of kv_cache"),
                         ({"lengths": (100, 33, 1)}, "cache_seqlens")):
        with pytest.raises(AmlaError, match=f"{name} must be .* as in the workload, not"):
            build_job(replace(tiny_workload, **change), inputs, tiny)


def test_inputs_must_have_the_cores_format(tiny, tiny_workload):
    for config, format, message in ((tiny, "fp16", "q must be an array of bfloat16, .* not of float16"),
                                    (replace(tiny, format="fp16"), "bf16", "q must .* float16, .* not of bfloat16")):
        with pytest.raises(AmlaError, match=message):
            build_job(tiny_workload, make_inputs(tiny_workload, format=format), config)


def test_output_beat_names_the_writer(make_job):
    job, _ = make_job()
    _, _, result = simulate(job)
    index = result.writer[job.output_beat("LSE", (1, 3, 1))]
    assert "lse" in job.program.commands[index].flags and job.program.annotations[index].request == 1
    index = result.writer[job.output_beat("O", (0, 1, 2, 31))]
    assert job.program.annotations[index].request == 0 and job.program.commands[index]["cols"] > 0


SPARSE = Workload(name="x", heads=3, lengths=(40, 9), head_dim=24, head_dim_v=16, page_size=16, topk=12, sink=True,
                  extra=ExtraCache(lengths=(20, 30), topk=6, page_size=2))


def test_lists_and_caches_lie_in_the_read_window(make_job):
    """Q, both caches, the sinks, the lists and the program, each at a multiple of 4 KiB."""
    job, inputs = make_job(SPARSE)
    symbols, base = job.program.symbols, job.base
    names = ["Q", "KV", "EXTRA", "SINK", "LISTS", "PROGRAM"]
    assert sorted(names, key=symbols.__getitem__) == names and all(symbols[name] % 4096 == 0 for name in names)
    for name, array in (("KV", inputs.kv_cache), ("EXTRA", inputs.extra_k_cache)):
        stored = job.memory[symbols[name] - base:][:array.nbytes]
        assert np.array_equal(stored, np.ascontiguousarray(array).view(np.uint8).ravel()), name
    gathers = [command for command in job.program.commands if command.opcode == Opcode.GATHER]
    assert all(symbols["LISTS"] <= gather["list"] < symbols["PROGRAM"] for gather in gathers)
    assert {(gather["address"], gather["page_size"]) for gather in gathers} == {(symbols["KV"], 16),
                                                                                (symbols["EXTRA"], 2)}


def test_a_workload_without_listed_keys_has_no_lists(make_job):
    load = replace(SPARSE, lengths=(0, 0), extra=None)
    assert "LISTS" not in make_job(load)[0].program.symbols


def test_fp8_pages_lie_as_flashmla_makes_them(make_job):
    load = Workload(name="x", heads=3, lengths=(5,), head_dim=512, head_dim_v=512, cache="fp8-584", page_size=3)
    job, inputs = make_job(load)
    start = job.program.symbols["KV"] - job.base
    pages = job.memory[start:start + 3 * 4 * 576].reshape(3, 4 * 576)  # two pages of keys, and one that nobody has
    assert np.array_equal(pages[:, :3 * 584], np.ascontiguousarray(inputs.kv_cache).reshape(3, -1))
    assert (pages[:, 3 * 584:] == 0xA5).all()


@pytest.mark.parametrize(("heads", "tokens", "words"), [
    (4, 1, 1), (4, 9, 3), (8, 5, 6), (1, 16, 4), (2, 7, 4), (3, 4, 3), (3, 16, 6), (5, 4, 5), (6, 16, 6), (17, 1, 5)])
def test_sinks_of_every_row(tiny, make_job, heads, tokens, words):
    """A word has the sinks of a row group; row tiles that begin with the same head share theirs."""
    load = Workload(name="x", heads=heads, q_tokens=tokens, lengths=(9,), head_dim=24, head_dim_v=16, sink=True)
    job, inputs = make_job(load)
    plan, m = job.plan, tiny.m
    start = job.program.symbols["SINK"] - job.base
    stored = job.memory[start:start + plan.sink_words * tiny.axi_data_bytes].reshape(plan.sink_words, -1)
    sinks = np.ascontiguousarray(stored[:, :4 * m]).view(np.float32)
    assert plan.sink_words == words
    for tile in plan.tiles:
        for row in range(tile.rows):
            word = plan.sink_word(tile) + row // m
            assert sinks[word, row % m] == inputs.attn_sink[(tile.row + row) % heads]


def test_sinks_must_fit(tiny, make_job):
    load = Workload(name="x", heads=31, q_tokens=5, lengths=(9,), head_dim=24, head_dim_v=16, sink=True)
    with pytest.raises(AmlaError, match=r"state_rows of tiny is too small for the sinks of 31 heads: they need 136, "
                                        r"not 128"):
        make_job(load)
    make_job(load, config=replace(tiny, state_rows=136))


@pytest.mark.parametrize(("change", "message"), [
    ({"topk": 11}, "topk of indices must be 11 as in the workload, not 12"),
    ({"topk": None, "extra": None}, r"cache_seqlens must be \(40, 9\) as in the workload, not None"),
    ({"extra": replace(SPARSE.extra, page_size=4)}, "page of extra_k_cache must be 4 as in the workload, not 2"),
    ({"extra": replace(SPARSE.extra, topk=5)}, "topk of extra_indices_in_kvcache must be 5 as in the workload, not 6"),
    ({"extra": None}, "page of extra_k_cache must be None as in the workload, not 2"),
    ({"sink": False}, "heads of attn_sink must be None as in the workload, not 3"),
])
def test_sparse_workload_and_inputs_must_agree(tiny, change, message):
    with pytest.raises(AmlaError, match=f"^{message}$"):
        build_job(replace(SPARSE, **change), make_inputs(SPARSE), tiny)


def test_the_core_must_read_the_cache(tiny):
    load = Workload(name="x", heads=3, lengths=(9,), cache="fp8-656")
    inputs = make_inputs(load)
    with pytest.raises(AmlaError, match=r"^cache must have 16 bits on tiny, which computes in fp16 and has beats of 16 "
                                        r"bytes, not fp8-656$"):
        build_job(load, inputs, replace(tiny, format="fp16"))
    with pytest.raises(AmlaError, match=r"^cache must be bf16, as tiny computes in it, not fp16$"):
        build_job(replace(load, cache="fp16"), inputs, tiny)
    with pytest.raises(AmlaError, match=r"^kv_cache must be bf16 as in the workload, not fp8-656$"):
        build_job(replace(load, cache=None), inputs, tiny)
