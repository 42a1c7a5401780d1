"""`python -m benchmarks --quick` runs, both sides agree, and every stage has its numbers. No speed is asserted."""

import json
import math
import subprocess
import sys
from pathlib import Path

STAGES = ["decode + resize", "decode + resize", "tower + projector + pathways", "prefill", "generation"]


def test_quick_run_measures_every_stage(tmp_path):
    file = tmp_path / "numbers.json"
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(file)]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-2000:]
    report = json.loads(file.read_text())
    assert len(report["stages"]) == len(STAGES)
    for stage, name in zip(report["stages"], STAGES, strict=True):
        assert stage["stage"].startswith(name)
        times = [stage["ours"], stage["plain"], stage["ratio"], *stage["seconds"]["ours"], *stage["seconds"]["plain"]]
        assert all(number > 0 and math.isfinite(number) for number in times), stage
    assert all(report["gflops"][side] > 0 for side in ("ours", "plain", "gemm"))
    assert report["machine"]["torch_threads"] >= 1
    assert "tower + projector" in run.stdout
