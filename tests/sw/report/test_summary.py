"""The table of several runs."""

import json

import pytest
from amla.sw.errors import AmlaError
from amla.sw.report.results import read_folder
from amla.sw.report.summary import main
from amla.sw.report.waits import gaps

pytestmark = pytest.mark.smoke


def test_rows_are_the_reports_figures(results_folder, tmp_path):
    report = json.loads((results_folder / "report.json").read_text())
    main([str(tmp_path / "out.md"), str(results_folder), str(results_folder), "--title", "Two runs"])
    text = (tmp_path / "out.md").read_text()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    rows = [cells for cells in lines if cells[0] == "`tiny`"]
    assert text.startswith("# Two runs\n") and len(rows) > 4
    assert text.count(f"`tiny` has {sum(report['sram_kib'].values()):,.1f} KiB of SRAM: L1 ") == 1
    assert rows[0][2:6] == ["ideal: 20 cycles, 16 B/cycle", f"{report['cycles']:,}",
                            f"{100 * report['utilisation']:.2f} %",
                            f"{100 * report['bound']['reached']:.2f} %"]
    assert rows[0][7] == f"{report['serial_baseline']['cycles']:,}"
    cube = report["engines"]["cube"]
    assert rows[2][1:6] == ["ideal", *(f"{cube[name]:,}" for name in ("busy", "wait_semaphore", "wait_memory", "idle"))]
    longest = [gap for gap in gaps(read_folder(results_folder)) if gap.engine == "cube"][:5]
    assert [row[1:] for row in rows[4:4 + len(longest)]] == [
        ["ideal", gap.stage, f"`{gap.reason}`", gap.source, f"{gap.cycles:,}", str(gap.times)] for gap in longest]


def test_only_runs_on_the_rtl(make_results, tmp_path):
    folder = make_results(tmp_path / "simulated", rtl=False)
    with pytest.raises(AmlaError, match="tiny-tiny must be a run on the RTL, not on the simulator"):
        main([str(tmp_path / "out.md"), str(folder)])
    assert not (tmp_path / "out.md").exists()
