"""``python -m amla.tb.formal [name …]``: decide every proof and its twin, two at a time.

Prints a table, writes ``build/formal/report.json`` and ends with a status other than 0 if a proof is not
proven or a planted bug is not found.
"""

if __name__ == "__main__":
    from amla.rtl.command import run

    run("amla.tb.formal.__main__", "formal")

import argparse
import json
import sys
import time
from pathlib import Path

from amla.rtl.files import make_folder, write
from rich.console import Console
from rich.table import Table

from .catalogue import PROOFS
from .run import run

__all__ = ["main"]

def _table(entries: list[dict]) -> Table:
    table = Table(title="Formal proofs; each one's twin has a planted bug that must be found")
    for heading in ("proof", "says", "engine", "s", "verdict", "planted bug", "s", "twin"):
        table.add_column(heading, justify="right" if heading == "s" else "left")
    for entry in entries:
        bug = "found" if entry["twin_verdict"] == "refuted" else f"NOT FOUND ({entry['twin_verdict']})"
        table.add_row(entry["name"], entry["says"], entry["engine"], f"{entry['seconds']:.1f}",
                      entry["verdict"] if entry["verdict"] == "proven" else entry["verdict"].upper(),
                      entry["bug"], f"{entry['twin_seconds']:.1f}", bug)
    return table


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m amla.tb.formal", description="Prove the RTL's properties.")
    parser.add_argument("name", nargs="*", help=f"proofs to run (default: all): {', '.join(PROOFS)}")
    parser.add_argument("--out", type=Path, default=Path("build/formal"), help="folder of the report and the traces")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.name if name not in PROOFS]:
        parser.error(f"a proof must be one of {', '.join(PROOFS)}, not {unknown[0]!r}")
    start = time.monotonic()
    entries = run(options.name or PROOFS, folder=options.out)
    passed = sum(entry["passed"] for entry in entries)
    seconds = round(time.monotonic() - start, 1)
    report = {"passed": passed, "proofs": len(entries), "seconds": seconds, "entries": entries}
    make_folder(options.out)
    write({options.out / "report.json": json.dumps(report, indent=1, ensure_ascii=False) + "\n"})
    console = Console() if sys.stdout.isatty() else Console(width=180)
    console.print(_table(entries))
    for entry in entries:
        for line in (*entry["detail"], *entry["twin_detail"]):
            console.print(f"{entry['name']}: {line}", markup=False)
    console.print(f"{passed} of {len(entries)} proven with their planted bug found, {seconds:.0f} s; "
                  f"{options.out / 'report.json'}")
    return 0 if passed == len(entries) else 1

