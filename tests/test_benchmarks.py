"""`python -m benchmarks --quick` runs, both sides agree, and every stage has its numbers. No speed is asserted."""

import json
import math
import subprocess
import sys
from pathlib import Path

from PIL import Image

STAGES = ["decode + resize", "decode + resize", "tower + projector + pathways", "prefill", "generation"]


WAYS = ["plain", "one by one", "ours"]


def test_quick_run_measures_every_stage(tmp_path):
    file = tmp_path / "numbers.json"
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(file), "--plot", str(tmp_path / "jobs.png")]
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
    ways = {(job["way"], job["videos"], job["questions"]) for job in report["jobs"]}
    assert ways == {(way, *job) for way in WAYS for job in ((1, 1), (2, 1), (1, 2), (2, 2))}
    assert all(job["seconds"] > 0 and job["asked"] for job in report["jobs"])
    ours = [job for job in report["jobs"] if job["way"] == "ours"]
    assert all(job["asked"] == job["videos"] * job["questions"] for job in ours)
    for job in ours:
        assert job["stages"].keys() == {"decode + resize", "preprocess", "tower", "prefill", "generation"}
        assert all(seconds > 0 for seconds in job["stages"].values())
        assert 0 < job["busy"] <= 1
        assert job["gigabytes"] > 0
    assert report["peak_gigabytes"] > 0
    with Image.open(tmp_path / "jobs.png") as picture:
        assert min(picture.size) > 300
