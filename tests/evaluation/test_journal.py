"""The journal finds answers unless something they depend on has changed."""

import json
import os
import subprocess
import sys

from sfllava_plugin.evaluation.journal import Journal
from sfllava_plugin.provenance import describe, key_of

RUN = {"model": {"config.json": "1"}, "engine": {}, "versions": {"vllm": "0.32.0"}}


def test_an_answer_is_found_again(tmp_path):
    journal = Journal(tmp_path, RUN)
    journal.add("key", {"text": "a dog, 犬"})
    journal.close()
    again = Journal(tmp_path, RUN)
    assert again.get("key") == {"text": "a dog, 犬"}
    assert again.get("other") is None
    assert again.get(None) is None


def test_each_answer_is_kept_at_once(tmp_path):
    journal = Journal(tmp_path, RUN)
    for number in range(3):
        journal.add(f"{number}", {"text": "a dog"})
        # Another process can read it while this one is still writing.
        assert Journal(tmp_path, RUN, rank=1).get(f"{number}") == {"text": "a dog"}
    journal.close()


def test_another_run_finds_nothing(tmp_path):
    Journal(tmp_path, RUN).add("key", {"text": "a dog"})
    assert Journal(tmp_path, RUN | {"engine": {"dtype": "float32"}}).get("key") is None


def test_a_torn_line_costs_only_its_own_answer(tmp_path):
    journal = Journal(tmp_path, RUN)
    journal.add("whole", {"text": "a"})
    journal.add("torn", {"text": "b"})
    journal.close()
    [file] = tmp_path.glob("*/0.jsonl")
    file.write_bytes(file.read_bytes()[:-5])
    again = Journal(tmp_path, RUN)
    assert again.get("whole") == {"text": "a"}
    assert again.get("torn") is None
    again.add("torn", {"text": "b"})
    again.close()
    assert Journal(tmp_path, RUN).get("torn") == {"text": "b"}


def test_processes_write_at_once_and_all_answers_are_found_later(tmp_path):
    program = (
        "import sys; from pathlib import Path; from sfllava_plugin.evaluation.journal import Journal\n"
        f"journal = Journal(Path(sys.argv[1]), {RUN!r}, int(sys.argv[2]))\n"
        "for number in range(500): journal.add(f'{sys.argv[2]}-{number}', {'text': 'x' * 200})\n"
    )
    # Two share a rank, as in two runs at once.
    runs = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), rank]) for rank in ("0", "0", "1")]
    assert [process.wait() for process in runs] == [0, 0, 0]
    journal = Journal(tmp_path, RUN)
    assert all(journal.get(f"{rank}-{number}") for rank in (0, 1) for number in range(500))
    lines = [line for file in tmp_path.glob("*/*.jsonl") for line in file.read_text().splitlines()]
    assert len([json.loads(line) for line in lines]) == 1500


def test_only_equal_values_have_equal_keys():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of(["ab", "c"]) != key_of(["a", "bc"])
    # Questions on one video share long prefixes or suffixes.
    same = "x" * 10_000
    assert len({key_of([same, "a", "y"]), key_of([same, "b", "y"]), key_of(["a", same]), key_of(["b", same])}) == 4


def test_a_run_is_identified_by_model_settings_and_versions(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = describe(tmp_path, {"dtype": "float32"})
    assert before == describe(tmp_path, {"dtype": "float32", "gpu_memory_utilization": 0.5, "max_num_seqs": 8})
    assert before != describe(tmp_path, {"dtype": "bfloat16"})
    (tmp_path / "model.safetensors").write_bytes(b"others.")
    assert before != describe(tmp_path, {"dtype": "float32"})
    assert before["versions"]["transformers"] != "absent"


def test_weights_are_identified_by_size_and_age(tmp_path):
    weights = tmp_path / "model.safetensors"
    with weights.open("wb") as file:
        file.truncate(2**25)
    before = describe(tmp_path, {})
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1000))
    assert describe(tmp_path, {}) != before
