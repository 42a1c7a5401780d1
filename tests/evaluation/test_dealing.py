"""Distributing questions by video, and counting an engine's accelerators."""

import json
import subprocess
import sys

import pytest

from sfllava_plugin.engine.offline import Question, devices_of
from sfllava_plugin.evaluation.dealing import Assignment, deal


def shares(videos: str, processes: int) -> list[list[Assignment]]:
    """Questions as lmms-eval deals them: round-robin."""
    assignments = [
        Assignment(number % processes, number // processes, Question(video, "?"), None)
        for number, video in enumerate(videos)
    ]
    return [assignments[rank::processes] for rank in range(processes)]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_video_goes_to_one_process(processes):
    given = shares("aabbbbccddddefgg", processes)
    found = deal(given)
    videos = [{each.question.video for each in share} for share in found]
    assert sum(map(len, videos)) == len("abcdefg")
    assert sorted(each.position for share in found for each in share) == sorted(
        each.position for share in given for each in share
    )
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_a_single_video_leaves_the_other_processes_idle():
    assert [len(share) for share in deal(shares("aaaa", 3))] == [4, 0, 0]


#: Run in two processes, each with questions of its own. An answer is the rank of the process that gave it.
PROGRAM = """
import json, sys
import torch
from sfllava_plugin.evaluation.dealing import Assignment, Question, answer_together

rank, store = int(sys.argv[1]), torch.distributed.FileStore(sys.argv[2], 2)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
mine = [Assignment(rank, place, Question(video, "?"), None) for place, video in enumerate("abca"[rank:])]
asked = []

def answer(questions):
    for each in questions:
        asked.append(each.question.video)
        yield each, rank

found = sorted((each.position, each.question.video, by) for each, by in answer_together(mine, answer))
assert [(place, video) for place, video, _ in found] == list(enumerate("abca"[rank:]))
print(json.dumps([asked, {video: by for _, video, by in found}]))
"""


def test_processes_answer_one_anothers_questions(tmp_path):
    call = [sys.executable, "-c", PROGRAM]
    runs = [subprocess.Popen([*call, str(rank), tmp_path / "store"], stdout=subprocess.PIPE) for rank in range(2)]
    (first, by), (second, _) = (json.loads(run.communicate()[0].splitlines()[-1]) for run in runs)
    assert sorted(first + second) == sorted("abca" + "bca")
    assert not set(first) & set(second)
    assert all(video in (first, second)[rank] for video, rank in by.items())


#: Prints whether a process would exchange questions, for each kind of task and for no request at all.
TAKING_PART = """
import json, sys
from types import SimpleNamespace
import torch
from sfllava_plugin.evaluation.dealing import all_take_part

class Task:
    def __init__(self, args, output_type="generate_until"):
        self.args, self.OUTPUT_TYPE = args, output_type

    def doc_to_visual(self, doc):
        return [doc]

rank, store, processes = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = torch.distributed.FileStore(store, processes)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
plain, cached = SimpleNamespace(use_cache=None), SimpleNamespace(use_cache="cache")
tasks = [Task(plain), Task(cached), Task(None), Task(plain, "generate_until_agentic")]
requests = [[SimpleNamespace(args=("context", {}, task.doc_to_visual))] for task in tasks]
print(json.dumps([all_take_part(share) for share in [*requests, []]]))
"""


@pytest.mark.parametrize(("processes", "plain"), [(2, True), (1, False)])
def test_questions_are_exchanged_only_if_several_processes_are_all_called(tmp_path, processes, plain):
    call = [sys.executable, "-c", TAKING_PART]
    ranks = [[*call, str(rank), tmp_path / "store", str(processes)] for rank in range(processes)]
    runs = [subprocess.Popen(rank, stdout=subprocess.PIPE) for rank in ranks]
    for run in runs:
        assert json.loads(run.communicate()[0].splitlines()[-1]) == [plain, False, False, False, False]


def test_devices_multiply_over_every_kind_of_parallelism():
    assert devices_of({}) == 1
    assert (
        devices_of({"tensor_parallel_size": 2, "pipeline_parallel_size": 3, "prefill_context_parallel_size": 2}) == 12
    )
    assert devices_of({"tensor_parallel_size": None, "data_parallel_size": 4}) == 1
