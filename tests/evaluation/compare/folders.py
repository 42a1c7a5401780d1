"""Result folders as lmms-eval 0.7.3 writes them, with made-up answers."""

import json
from pathlib import Path

DATE = "20260101_120000"
#: lmms-eval gives every sample the same hash.
HASH = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"


def row(doc_id, value, *, target="A", text=None, reply="A", metric="accuracy", tokens=None, **more):
    """One logged sample."""
    counts = [{"input_tokens": tokens[0], "output_tokens": tokens[1]}] if tokens else [None]
    found = {"doc_id": doc_id, "target": target, "filtered_resps": reply, "token_counts": counts, "doc_hash": HASH}
    return found | {metric: value, "input": text or f"question {doc_id}"} | more


def rows(values, **more):
    return [row(doc_id, float(value), **more) for doc_id, value in enumerate(values)]


def write(folder: Path, tasks, *, date=DATE, model="sfllava", model_args="pretrained=a/b", limit=None, **changes):
    """Write one run of ``tasks``, rows by task; returns the folder.

    ``effective`` changes the number of questions that the results announce, ``reported`` the results, and
    ``groups`` the groups.
    """
    place = folder / "b"
    place.mkdir(parents=True, exist_ok=True)
    results, configs, counts = {}, {}, {}
    for task, found in tasks.items():
        names = [name for name in found[0] if name not in row(0, 0, metric="doc_id")]
        results[task] = {"alias": task}
        for name in names:
            values = [each[name] for each in found if name in each]
            is_number = all(isinstance(value, bool | int | float) for value in values)
            results[task] |= {f"{name},none": sum(values) / len(values) if is_number else None}
            results[task] |= {f"{name}_stderr,none": 0.1}
        results[task] |= changes.get("reported", {})
        configs[task] = {"task": task, "test_split": "test"}
        counts[task] = {"original": 9999, "effective": changes.get("effective", len(found))}
        lines = "".join(json.dumps(each) + "\n" for each in found)
        (place / f"{date}_samples_{task}.jsonl").write_text(lines, encoding="utf-8")
    content = {"results": results, "configs": configs, "n-samples": counts, "group_subtasks": changes.get("groups", {})}
    content |= {"config": {"model": model, "model_args": model_args, "limit": limit}, "date": date}
    content |= {"total_evaluation_time_seconds": "30.0"} | changes.get("more", {})
    (place / f"{date}_results.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_trace(folder: Path, task, found, *, date="20260101_040000", run=None):
    """Write a trace of our model beside the runs in ``folder``: rows with doc_id, video, prompt, text, answer."""
    place = folder / f"{date}_sfllava"
    place.mkdir(parents=True)
    (place / "run.json").write_text(json.dumps(run or {"prompt": "paper"}))
    (place / f"{task}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in found))


def traced(doc_id, video, text="A) yes", answer="A"):
    return {"doc_id": doc_id, "video": video, "prompt": f"prompt {doc_id}", "text": text, "answer": answer}
