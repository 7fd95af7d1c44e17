"""The rooms of the project: imports run only downwards, folders stay small, tests and docs follow.

``docs/architecture.md`` opens with the same rooms, one sentence each.
"""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: From top to bottom. A module imports from levels below its own, or from its own folder on its own level. An entry
#: stands for the modules inside it that have no longer entry of their own.
LEVELS = (
    ("flow.energy",),
    ("flow", "tb.run_job"),
    ("tb.split",),
    ("tb.cluster",),
    ("tb.core", "tb.transfer"),
    ("tb.engines", "tb.formal", "tb.issue", "tb.softmax", "tb.rescale", "tb.test_rescale", "tb.test_stream",
     "tb.test_two_banks"),
    ("tb.host", "tb.fp"),
    ("tb",),
    ("sw.cli",),
    ("sw.explore",),
    ("sw.run", "sw.machine"),
    ("sw.simulator", "sw.report", "sw.accuracy"),
    ("sw.cluster",),
    ("sw.compiler",),
    ("sw.cycles",),
    ("sw.workload", "sw.memory", "sw.compiler.program", "sw.compiler.packing"),
    ("sw",),
    ("rtl.__main__",),
    ("rtl.cluster",),
    ("rtl.core", "rtl.docs", "rtl.memories"),
    ("rtl.engines",),
    ("rtl.softmax", "rtl.issue"),
    ("rtl.host",),
    ("rtl",),
    ("rtl.fp",),
    ("model",),
    ("model.decode", "model.flash_mla", "model.reference"),
    ("model.tile_scheduler",),
    ("model.attention",),
    ("model.cache", "model.numerics", "model.rescale"),
    ("model.tensors", "model.hopper"),
    ("model.fp",),
    ("model.checks",),
)

#: Files in a folder, ``__init__.py`` apart. More than this, and it is no room but a hall.
MOST_FILES = 15

#: Modules without a test file of their own -> the one that covers them.
COVERED = {
    "flow.energy.command": "flow/energy/test_report",
    "flow.energy.decode": "flow/energy/test_measure",
    "flow.energy.figures": "flow/energy/test_report",
    "flow.energy.mapped": "flow/energy/test_switching",
    "flow.energy.plot": "flow/energy/test_report",
    "flow.library": "flow/test_mapping",
    "flow.plots": "flow/test_report",
    "flow.tools": "flow/test_mapping",
    "flow.units": "flow/test_price",
    "model.attention.key_groups": "model/attention/test_batch",
    "model.fp.corners": "tb/fp/test_vectors",
    "model.fp.operator": "model/test_arguments",
    "model.hopper.recorded": "model/test_recorded",
    "model.hopper.special_tables": "model/hopper/test_special_functions",
    "rtl.cluster.register_slice": "rtl/cluster/test_interconnect",
    "rtl.cluster.write_arbiter": "rtl/cluster/test_interconnect",
    "rtl.engines.completion": "rtl/engines/test_cube",
    "rtl.errors": "rtl/test_config",
    **{f"rtl.fp.{name}": "rtl/fp/test_operators" for name in (
        "add", "convert", "exp2", "fixed", "log2", "maximum", "mul", "nets", "quadratic", "recip")},
    "rtl.host.burst": "rtl/engines/test_load",
    "rtl.host.csr": "rtl/host/test_registers",
    "rtl.host.fp8_region": "rtl/engines/test_load",
    **{f"rtl.host.{name}": "rtl/engines/test_load" for name in ("listed_row", "row_gather", "row_source")},
    "rtl.ram": "rtl/test_emit",
    "rtl.softmax.element_pass": "rtl/engines/test_vector",
    "rtl.softmax.row_result": "rtl/softmax/test_row_update",
    "rtl.softmax.merge_rows": "rtl/engines/test_vector",
    "rtl.softmax.merge_walk": "rtl/engines/test_vector",
    "rtl.softmax.row_state": "rtl/engines/test_vector",
    "rtl.softmax.row_weight": "rtl/softmax/test_row_update",
    "rtl.two_banks": "rtl/test_memories",
    "rtl.yaml_file": "rtl/test_config",
    **{f"sw.cycles.{name}": "sw/cycles/test_model" for name in (
        "compute", "gather", "issue", "latencies", "state", "transfer")},
    "sw.cluster.share": "sw/cluster/test_merge",
    "sw.errors": "sw/test_cli",
    **{f"sw.run.{name}": "sw/cycles/test_model" for name in ("model_check", "model_job")},
    "sw.machine.estimate": "sw/machine/test_prediction",
    "sw.machine.study": "sw/machine/test_page",
    "sw.machine.text": "sw/test_cli",
    "sw.accuracy.recorded": "sw/accuracy/test_study",
    "sw.explore.command": "sw/explore/test_run",
    "sw.run.experiment": "sw/test_cli",
    "sw.run.job_folder": "tb/test_run_job",
    "sw.run.rtl_job": "tb/test_run_job",
}

FOLDERS = ("model", "rtl", "sw", "tb", "flow")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    """``rtl/fp/add.py`` → ``rtl.fp.add``; a package's ``__init__.py`` → the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in SOURCES}


def level_of(module: str) -> int:
    """Index in LEVELS of the longest entry that the module is or lies in."""
    found = [(len(entry), level) for level, entries in enumerate(LEVELS) for entry in entries
             if module == entry or module.startswith(f"{entry}.")]
    assert found, f"{module} stands in no level"
    return max(found)[1]


def imports(path: Path) -> list[tuple[int, str]]:
    """Modules of this project that a file imports, with the line: also inside functions, and for types only."""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.removeprefix("amla.") for alias in node.names if alias.name.startswith("amla.")]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = [*package[: len(package) - node.level + 1], *filter(None, [node.module])]
            elif (node.module or "").split(".")[0] == "amla":
                base = node.module.split(".")[1:]
            else:
                continue
            names = [name if (name := ".".join([*base, alias.name])) in FILES else ".".join(base)
                     for alias in node.names]
        else:
            continue
        found += [(node.lineno, name) for name in dict.fromkeys(names)]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path):
    importer = module_of(path)
    for line, imported in imports(path):
        assert imported in FILES, f"{path}:{line} imports {imported}, which is no module"
        below = level_of(imported) - level_of(importer)
        assert below > 0 or (below == 0 and FILES[imported].parent == path.parent), (
            f"{path}:{line}: {importer} imports {imported}, which stands {'above' if below else 'beside'} it")


def test_no_circles():
    graph = {module_of(path): {name for _, name in imports(path)} - {module_of(path)} for path in SOURCES}
    state: dict[str, int] = {}

    def visit(module, trail):
        if state.get(module) == 2:
            return
        assert module not in trail, f"circle: {' → '.join([*trail[trail.index(module):], module])}"
        for other in graph[module]:
            visit(other, [*trail, module])
        state[module] = 2

    for module in graph:
        visit(module, [])


def test_folders_are_rooms():
    for top in (*FOLDERS, "tests"):
        for folder in {path.parent for path in (ROOT / top).rglob("*.py")}:
            files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert len(files) <= MOST_FILES, f"{folder.relative_to(ROOT)} holds {len(files)} files"


def test_tests_mirror_folders():
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        assert (ROOT / folder).is_dir(), f"{path.relative_to(ROOT)} mirrors no folder"


@pytest.mark.parametrize("module", [name for name, path in FILES.items() if not name.startswith("tb")
                                    and not path.stem.startswith("__")])
def test_every_module_has_a_test(module):
    folder, _, name = module.rpartition(".")
    own = ROOT / "tests" / folder.replace(".", "/") / f"test_{name}.py"
    if module in COVERED:
        assert not own.exists(), f"{module} has a test of its own and needs no entry in COVERED"
        assert (ROOT / "tests" / f"{COVERED[module]}.py").exists()
    else:
        assert own.exists(), f"{module} has no {own.relative_to(ROOT)}: write it, or name in COVERED what covers it"


def test_every_folder_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    folders = {"amla." + ".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    assert folders <= listed


def test_architecture_lists_the_rooms():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z_/]+)/` \|", page, re.MULTILINE))
    folders = {str(path.parent.relative_to(ROOT)) for path in SOURCES}
    assert listed == folders
