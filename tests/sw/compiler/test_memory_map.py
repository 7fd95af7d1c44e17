"""Jobs: layout of GM, windows, registers, unpacking."""

from dataclasses import replace

import numpy as np
import pytest
from amla.rtl.host.csr import REGISTERS
from amla.sw.compiler.memory_map import build_job
from amla.sw.compiler.program import disassemble
from amla.sw.errors import AmlaError
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.simulator.simulator import simulate
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
