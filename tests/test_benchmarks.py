"""`python -m benchmarks --quick` runs, and measures every stage.

No speed is asserted.
"""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import flops
from benchmarks.kinds import KINDS
from benchmarks.progress import OthersShare, disturbed

ROOT = Path(__file__).parents[1]
STAGES = ["decode + resize", "decode + resize", "tower + projector + pathways", "prefill", "generation"]


WAYS = ["plain", "one by one", "ours"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tokens"), {"llava-next": 3680, "onevision": 6273}.items())
def test_quick_run_measures_every_stage(tmp_path, kind, tokens):
    file = tmp_path / "numbers.json"
    options = ["--quick", "--model-kind", kind, "--json", str(file), "--plot", str(tmp_path / "jobs.png")]
    command = [sys.executable, "-m", "benchmarks", *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-2000:]
    report = json.loads(file.read_text())
    assert len(report["stages"]) == len(STAGES)
    for stage, name in zip(report["stages"], STAGES, strict=True):
        assert stage["stage"].startswith(name)
        times = [stage["ours"], stage["plain"], stage["ratio"], *stage["seconds"]["ours"], *stage["seconds"]["plain"]]
        assert all(number > 0 and math.isfinite(number) for number in times), stage
    assert all(report["gflops"][side] > 0 for side in ("ours", "plain", "gemm"))
    assert report["video_tokens"] == tokens
    assert f"{tokens} tokens" in run.stdout
    assert report["machine"]["torch_threads"] >= 1
    assert "tower + projector" in run.stdout
    rows = [line for line in run.stderr.splitlines() if "plain / ours" in line or "s a question" in line]
    assert len(rows) == len(STAGES) + len(WAYS) * 4
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


@pytest.mark.slow
def test_an_interrupted_run_shows_its_results(tmp_path):
    file = tmp_path / "numbers.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(file)]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "plain / ours" not in run.stderr.readline():
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    shown, said = run.communicate()
    assert run.returncode == 130, said[-2000:]
    assert "Traceback" not in said
    assert "these are the results so far" in said
    assert "decode + resize" in shown
    assert json.loads(file.read_text())["stages"]


def test_onevisions_operations_are_those_of_its_layers():
    kind, geometry = KINDS["onevision"], KINDS["onevision"].geometries["middle"]
    width, mlp, text, patches = 1152, 4304, 896, 729
    layer = 2 * patches * (4 * width**2 + 2 * width * mlp) + 4 * patches**2 * width
    frame = 2 * patches * 3 * 14**2 * width + 6 * layer + 2 * patches * width * text
    projected = kind.projected(32, patches)
    assert projected == 6273 - 1
    assert flops.tower(kind, geometry, 32, projected) == 32 * frame + projected * 2 * text**2


def test_a_busy_machine_is_noticed():
    others = OthersShare()
    # Orphaned on purpose: time of this process's children counts as its own.
    burn = "import time; end = time.process_time() + 1\nwhile time.process_time() < end: pass"
    spawn = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}]); print()"
    subprocess.run([sys.executable, "-c", spawn], check=True, stdout=subprocess.PIPE)
    assert 0.1 < others.since_last() <= 1
    assert "other programs took 40%" in disturbed(0.4)
    assert disturbed(0.01) == ""


@pytest.mark.slow
def test_jobs_run_with_the_engine_in_another_process(tmp_path):
    """As on an accelerator, where stages inside the engine are not timed."""
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "SFLLAVA_CACHE": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", IN_ANOTHER], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    timing = json.loads(run.stdout.splitlines()[-1])
    assert timing["asked"] == 2
    assert timing["stages"].keys() == {"decode + resize", "preprocess"}
    assert timing["busy"] is None


IN_ANOTHER = """
import json, os, tempfile
from pathlib import Path
from benchmarks import inputs, jobs
from benchmarks.ours import OurModel
from examples.random_checkpoint import write_checkpoint

if __name__ == "__main__":
    folder = Path(os.environ["SFLLAVA_CACHE"])
    checkpoint = write_checkpoint(folder / "checkpoint", geometry=inputs.GEOMETRIES["small"])
    video = inputs.videos(folder, None)["generated 640x360"]
    ours = OurModel(str(checkpoint), "float32", inside=False)
    timing = jobs.time_ours(ours, jobs.questions([video], 2), jobs.Job(1, 2))
    print(json.dumps(vars(timing) | {"busy": timing.busy}))
    ours.close()
"""
