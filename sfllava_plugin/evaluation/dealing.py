"""Redistribute questions among an evaluation's processes, grouped by video.

lmms-eval deals documents round-robin, so questions on one video end up in several processes, each of which would decode
and encode it. Here the processes exchange their questions, assign each video to one of them, and return the answers to
the process that lmms-eval expects them from.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch

from sfllava_plugin.engine.offline import Question, Source

T = TypeVar("T")

#: How long a finished process waits for the others; lmms-eval allows a day, too.
_LONGEST_WAIT = timedelta(days=1)


@dataclass(frozen=True)
class Assignment:
    """A question, and where its answer belongs.

    Attributes:
        owner: rank of the process that lmms-eval gave it to.
        position: its position among that process's requests.
        key: its key in the journal; None without one.
    """

    owner: int
    position: int
    question: Question
    key: str | None


def deal(shares: Sequence[Sequence[Assignment]]) -> list[list[Assignment]]:
    """Distribute whole videos over the processes, as evenly as possible.

    Deterministic, so that every process computes the same distribution.
    """
    videos: dict[Source, list[Assignment]] = {}
    for assignment in (assignment for share in shares for assignment in share):
        videos.setdefault(assignment.question.video, []).append(assignment)
    found: list[list[Assignment]] = [[] for _ in shares]
    for questions in sorted(videos.values(), key=len, reverse=True):
        min(found, key=len).extend(questions)
    return found


def answer_together(
    mine: list[Assignment], answer: Callable[[list[Assignment]], Iterator[tuple[Assignment, T]]]
) -> Iterator[tuple[Assignment, T]]:
    """Answer all processes' questions together; yield this one's answers.

    Every process must call this.

    Args:
        answer: answers questions on this process's engine.
    """
    rank = torch.distributed.get_rank()
    of_others: list[tuple[Assignment, T]] = []
    for assignment, answered in answer(deal(_exchange(mine))[rank]):
        if assignment.owner == rank:
            yield assignment, answered
        else:
            of_others.append((assignment, answered))
    for answers in _exchange(of_others):
        yield from ((assignment, answered) for assignment, answered in answers if assignment.owner == rank)


def _exchange(mine: T) -> list[T]:
    """Gather an object from every process, in rank order."""
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, mine, group=_group())
    return found


def all_take_part(requests: Sequence[Any]) -> bool:
    """Tell, alike in all processes, whether all are in this call.

    Exchanging would hang otherwise. An engine in this process makes a group of one, which has nothing to exchange. With
    lmms-eval's own cache, a process whose answers are all cached is never called; with agentic tasks, processes take
    different numbers of rounds. In a program that calls lmms-eval, it is unknown whether there is a cache.
    """
    distributed = torch.distributed
    if not (requests and distributed.is_available() and distributed.is_initialized()):
        return False
    if distributed.get_world_size() == 1:
        return False
    tasks = {id(task): task for request in requests if (task := getattr(request.args[2], "__self__", None))}.values()
    commands = [getattr(task, "args", None) for task in tasks]
    agentic = any(getattr(task, "OUTPUT_TYPE", None) == "generate_until_agentic" for task in tasks)
    return bool(commands) and not agentic and all(not getattr(command, "use_cache", True) for command in commands)


@cache
def _group() -> "torch.distributed.ProcessGroup":
    """A gloo group, which exchanges Python objects whatever backend lmms-eval itself uses."""
    group: torch.distributed.ProcessGroup = torch.distributed.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    return group
