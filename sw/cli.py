"""The command ``amla``: run, report, schedule, predict, explore and golden."""

import io
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from amla.model import Numerics, mla_decode
from amla.model.fp.formats import OPERANDS
from amla.rtl.command import one_line, require
from amla.rtl.config import MODES, P_FORMATS, CoreConfig
from amla.rtl.files import check_folder, write
from rich.console import Console
from rich.text import Text

from .compiler.memory_map import build_job
from .errors import AmlaError
from .machine.machine import load_machine
from .machine.prediction import predict as predict_on
from .machine.text import render as render_prediction
from .memory.preset import Memory
from .report.report import render
from .report.report_folder import write_pages
from .report.results import REPORT_FILE, write_folder
from .run.experiment import Experiment, baseline_name, prepare
from .run.rtl_job import RtlRun, job_folder, run_rtl, write_job
from .workload.generate import make_inputs
from .workload.inputs import load_npz
from .workload.workload import Workload

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="MLA decode on the AMLA core: schedule a workload, run it on the RTL or the command simulator, "
    "compare every bit with the golden model, and see where the cycles went.",
    epilog="Workloads: configs/workloads/*.yaml or your own file; cores: configs/*.yaml or your own file.",
)

_CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else 132)
_DEVICES = ("rtl", "simulator")

#: Exit status after Ctrl-C.
_INTERRUPTED = 128 + signal.SIGINT

ConfigOption = Annotated[str, typer.Option(help="Core: a name under configs/ or the path of a YAML file.")]
PreloadOption = Annotated[int, typer.Option(help="C1 stages that run ahead of their C2: 0 (serial), 1 or 2.")]


ModeOption = Annotated[
    str | None, typer.Option(help="Rescale: amla (MUL by ADD), mul (FP32 multiplication) or pow2; default: the core's.")
]
FormatOption = Annotated[str | None, typer.Option(help="Q, KV and output: bf16 or fp16; default: the core's.")]
PFormatOption = Annotated[
    str | None, typer.Option(help="P: u6.10, or operand for that of Q and KV; default: the core's.")
]


def _config(
    name: str, mode: str | None = None, format: str | None = None, p_format: str | None = None,
) -> CoreConfig:
    """A configuration; with another mode or format its name says so, as its build and its results are others."""
    config = CoreConfig.load(name)
    changes = (("mode", mode, MODES), ("format", format, OPERANDS), ("p_format", p_format, P_FORMATS))
    for option, value, values in changes:
        if value is not None and value not in values:
            raise AmlaError(f"--{option.replace('_', '-')} must be one of {', '.join(values)}, not {value!r}")
        if value not in (None, getattr(config, option)):
            config = replace(config, name=f"{config.name}-{value}", **{option: value})
    return config


MemoryOption = Annotated[
    str | None, typer.Option(help="Memory: a name under configs/memory/ or the path of a YAML file; default: ideal.")
]
LatencyOption = Annotated[int | None, typer.Option(help="Instead of --memory: ideal, but so many cycles away.")]


def _memory(name: str | None, latency: int | None) -> Memory:
    """A memory; with another latency its name says so."""
    if latency is None:
        return Memory.load(name or "ideal")
    if name is not None:
        raise AmlaError(f"--latency must be given without --memory, not with {name!r}")
    try:
        return Memory.load("ideal").at(latency)
    except AmlaError as error:
        raise AmlaError(f"--{error}") from None


def _check_preload(preload: int) -> None:
    if preload not in (0, 1, 2):
        raise AmlaError(f"--preload must be 0, 1 or 2, not {preload!r}")


def _step(line: str) -> None:
    _CONSOLE.print(f"[bright_black]   {line}[/]")


@app.command()
def run(
    workloads: Annotated[list[str], typer.Argument(help="Names under configs/workloads/ or paths of YAML files.")],
    config: ConfigOption = "small",
    device: Annotated[
        str, typer.Option(help="rtl (Verilator; counts cycles) or simulator (seconds; no cycles).")
    ] = "rtl",
    mode: ModeOption = None,
    format: FormatOption = None,
    p_format: PFormatOption = None,
    preload: PreloadOption = 1,
    baseline: Annotated[bool, typer.Option(help="Also run the serial baseline (preload 0) on the RTL.")] = True,
    out: Annotated[Path, typer.Option(help="Folder of the results: OUT/<config>-<workload>/report.json.")] = Path(
        "build/runs"
    ),
    seed: Annotated[int | None, typer.Option(help="Seed of generated inputs, instead of the workload's.")] = None,
    memory: MemoryOption = None,
    latency: LatencyOption = None,
    waves: Annotated[
        bool, typer.Option(help="Record a waveform; its path is printed (rtl; slow).")
    ] = False,
) -> None:
    """Run workloads on a core; print and write a report each.

    Ends with status 1 if a bit of O or LSE differs between RTL, command simulator and golden model.
    """
    if device not in _DEVICES:
        raise AmlaError(f"--device must be one of {', '.join(_DEVICES)}, not {device!r}")
    if device == "rtl":
        require("sim")
    _check_preload(preload)
    core, beside = _config(config, mode, format, p_format), _memory(memory, latency)
    loads = [Workload.load(name) for name in workloads]
    if seed is not None:
        loads = [replace(load, seed=seed) for load in loads]
    names = [load.name for load in loads]
    if len({*names, *map(baseline_name, names)}) != 2 * len(names):
        raise AmlaError("workloads must have different names, none of them another's with "
                        f"{baseline_name('')}, not {', '.join(names)}")
    check_folder(out)
    experiments: dict[str, Experiment] = {}
    for load in loads:
        _CONSOLE.print(Text(load.name, "bold"))
        experiments[load.name] = prepare(
            load, core, preload=preload, baseline=baseline and device == "rtl", progress=_step, memory=beside
        )
    runs: Mapping[str, RtlRun] = {}
    build_seconds = 0.0
    if device == "rtl":
        jobs = {name: job for experiment in experiments.values() for name, job in experiment.jobs().items()}
        with job_folder(out, core.name, keep=waves) as folder:
            write_job(folder, jobs, seed=loads[0].seed, waves=waves)
            results = run_rtl(folder)
        runs, build_seconds = results.runs, results.build_seconds
        if waves:
            _step(f"waves: {folder / 'dump.vcd'}")
    for name, experiment in experiments.items():
        found = experiment.report(runs.get(name), runs.get(baseline_name(name)), build_seconds=build_seconds)
        kept = out / f"{core.name}-{name}"
        write_folder(kept, found, experiment.job, runs[name].arrays if name in runs else None)
        _CONSOLE.print()
        render(found, _CONSOLE)
        _CONSOLE.print(Text(f"{kept / REPORT_FILE}; as a page: amla report {kept}", "bright_black"), soft_wrap=True)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Results of amla run: OUT/<config>-<workload>.")],
    plots: Annotated[bool, typer.Option("--plots", help="Also write PNG plots (needs amla\\[plots]).")] = False,
) -> None:
    """Make DIR/report.html, a page that needs nothing else, and DIR/trace.json for ui.perfetto.dev."""
    for path in write_pages(folder, plots=plots):
        print(path)


@app.command()
def schedule(
    workload: Annotated[str, typer.Argument(help="Name under configs/workloads/ or path of a YAML file.")],
    config: ConfigOption = "small",
    format: FormatOption = None,
    preload: PreloadOption = 1,
    memory: MemoryOption = None,
    latency: LatencyOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the program as it is in memory here.")
    ] = None,
) -> None:
    """Print the buffer map and the program of a workload."""
    _check_preload(preload)
    load = Workload.load(workload)
    core = _config(config, format=format)
    inputs = make_inputs(load, format=core.format)
    job = build_job(load, inputs, core, preload=preload, memory=_memory(memory, latency))
    print(f"# {load.name} on {job.config.name}, memory {job.plan.memory.name}, preload {preload}: "
          f"{len(job.program)} commands; {job.plan.traffic}")
    print(f"# {job.plan.why}")
    print(job.plan.buffer_map())
    print()
    print(job.program.listing())
    if out is not None:
        write({out: job.program.binary})


@app.command()
def explore(
    space: Annotated[str, typer.Argument(help="Name under configs/spaces/ or path of a YAML file.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the results; default: build/explore/<space>.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes on this machine; default: one for each core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Instead: the Dask scheduler of a cluster, tcp://host:port.")
    ] = None,
) -> None:
    """Try every core of a space beside every memory at every workload (by a model of time, no RTL).

    Writes a table, OUT/points.parquet, and a page with Pareto fronts, OUT/explore.html. What an earlier run has
    evaluated, one that was cut off too, is not evaluated again.
    """
    require("explore")
    from .explore.command import explore_space

    explore_space(space, out=out, workers=workers, scheduler=scheduler, console=_CONSOLE)


@app.command()
def predict(
    workload: Annotated[str, typer.Argument(help="Name under configs/workloads/ or path of a YAML file.")],
    machine: Annotated[str, typer.Option(help="A name under configs/machines/ or the path of a YAML file.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")
    ] = None,
) -> None:
    """Predict how fast a machine runs a workload, and what bounds it, beside published figures."""
    beside = load_machine(machine)
    found = predict_on(Workload.load(workload), beside)
    render_prediction(found, beside, _CONSOLE)
    if json_file is not None:
        write({json_file: json.dumps(found.as_dict(), indent=1, allow_nan=False) + "\n"})


@app.command()
def golden(
    inputs: Annotated[Path, typer.Argument(help="An .npz with q, kv_cache, block_table, cache_seqlens, or lists.")],
    output: Annotated[Path, typer.Argument(help="The .npz to write: out, lse.")],
    causal: Annotated[bool, typer.Option(help="Query token t sees keys below length - tokens + 1 + t.")] = False,
    head_dim_v: Annotated[int, typer.Option(help="Columns of V.")] = 512,
    softmax_scale: Annotated[
        float | None, typer.Option(help="Factor of the scores; default head_dim^-1/2.")
    ] = None,
    mode: ModeOption = None,
    p_format: PFormatOption = None,
    config: ConfigOption = "small",
    kv_block: Annotated[
        int | None, typer.Option(help="Keys per KV block, as amla schedule names it; default: the core's most.")
    ] = None,
    float32: Annotated[
        bool, typer.Option(help="O before its last rounding, in float32 (default: the inputs' type).")
    ] = False,
) -> None:
    """Decode your arrays with the golden model, in the numerics of a core.

    q and kv_cache are bfloat16 or float16, or kv_cache is FlashMLA's FP8 cache. Further arrays as in FlashMLA's call:
    indices in place of the table and the lengths, topk_length, extra_k_cache, extra_indices_in_kvcache,
    extra_topk_length, attn_sink. bfloat16 arrays are stored as NumPy
    stores ml_dtypes.bfloat16: two raw bytes each; uint16 words are read too.
    """
    core = _config(config, mode, p_format=p_format)
    arrays = load_npz(inputs)
    try:
        numerics = Numerics(
            kv_block=core.kv_block if kv_block is None else kv_block,
            k=core.k,
            acc_frac_bits=core.acc_frac_bits,
            comp_bits=core.comp_bits,
            p_format=core.p_format,
        )
        out, lse = mla_decode(
            **arrays.arguments(),
            causal=causal,
            head_dim_v=head_dim_v,
            softmax_scale=softmax_scale,
            mode=core.mode,
            numerics=numerics,
            out_dtype=np.float32 if float32 else None,
        )
    except (TypeError, ValueError) as error:
        raise AmlaError(str(error)) from None
    archive = io.BytesIO()
    np.savez(archive, out=out, lse=lse)
    write({output: archive.getvalue()})
    _CONSOLE.print(Text(f"{output}: out {out.dtype} {list(out.shape)}, lse {lse.dtype} {list(lse.shape)}"))


def _terminated(number: int, _) -> None:
    """SIGTERM ends the command by way of every clean-up, as Ctrl-C does."""
    print("amla: interrupted", file=sys.stderr)
    sys.exit(128 + number)


@one_line()
def main() -> None:
    """The command: bad input gives one line and status 2, a difference between levels status 1."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        status = app(standalone_mode=False)
    except typer.TyperException as error:
        # Empty when the help has just been printed for want of arguments.
        raise AmlaError(error.format_message()) from None
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except typer.Abort:
        raise KeyboardInterrupt from None
    if status == _INTERRUPTED:  # typer turns an interrupt into this status, and says nothing
        raise KeyboardInterrupt
    sys.exit(status or 0)
