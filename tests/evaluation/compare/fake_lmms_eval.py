"""Stands for lmms-eval as a command: `install` puts it first on a child's path.

It writes results of made-up answers, or fails, as the variable FAKE_PLAN says, and logs its arguments.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from sfllava_plugin.evaluation.compare import versus
from tests.evaluation.compare.folders import rows, write

#: Length of a task without --limit.
QUESTIONS = 40


def install(folder: Path, monkeypatch, **plan) -> Path:
    """Install it for children of this process; returns the file that gets one line of JSON for each call.

    ``plan``: by ``--model_args``, ``status`` to exit with, ``nothing`` to write no results, ``hang`` to never end,
    ``date`` and ``groups`` of the results.
    """
    # The real one need not be installed.
    monkeypatch.setattr(versus, "find_spec", lambda name: name)
    (folder / "lmms_eval").mkdir(parents=True)
    (folder / "lmms_eval/__init__.py").touch()
    (folder / "lmms_eval/__main__.py").write_text("from tests.evaluation.compare.fake_lmms_eval import main\nmain()\n")
    log = folder / "calls.jsonl"
    log.touch()
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), root]))
    monkeypatch.setenv("FAKE_PLAN", json.dumps(plan))
    monkeypatch.setenv("FAKE_LOG", str(log))
    return log


def calls(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def main():
    parser = argparse.ArgumentParser()
    for name in ("--model", "--model_args", "--tasks", "--include_path", "--output_path", "--batch_size"):
        parser.add_argument(name)
    parser.add_argument("--limit", type=float)
    parser.add_argument("--log_samples", action="store_true")
    arguments = parser.parse_args()
    with open(os.environ["FAKE_LOG"], "a") as file:
        file.write(json.dumps(vars(arguments)) + "\n")
    print("lmms-eval's own table")
    plan = json.loads(os.environ["FAKE_PLAN"]).get(arguments.model_args or "", {})
    if plan.get("hang"):
        time.sleep(600)
    if not plan.get("nothing"):
        groups = {"both": ["one", "two"]}
        tasks = [leaf for task in arguments.tasks.split(",") for leaf in groups.get(task, [task])]
        shift = len(arguments.model_args or "")
        count = int(arguments.limit or QUESTIONS)
        found = {task: rows([(doc_id + shift) % 3 > 0 for doc_id in range(count)]) for task in tasks}
        write(
            Path(arguments.output_path),
            found,
            model=arguments.model,
            model_args=arguments.model_args or "",
            limit=arguments.limit,
            groups={name: parts for name, parts in groups.items() if name in arguments.tasks.split(",")},
            date=plan.get("date", "20260101_000000"),
        )
    sys.exit(plan.get("status", 0))
