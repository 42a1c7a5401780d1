"""Deal the questions of an evaluation's processes anew, by video.

lmms-eval deals documents in turn, so that questions on one video end up in several processes, and each of these decodes
and encodes it. Here all processes say what they were given, agree on one process for each video, and hand answers back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import torch

from sfllava_plugin.engine.questions import Question

#: A process that has answered its share waits for the others; lmms-eval allows them a day, too.
_LONGEST_WAIT = timedelta(days=1)


@dataclass(frozen=True)
class Dealt:
    """A question on its way to the process that answers it.

    Attributes:
        owner: the process that lmms-eval gave it to.
        position: its place there.
        key: its name in the journal, if there is one.
    """

    owner: int
    position: int
    question: Question
    key: str | None


def deal(shares: Sequence[Sequence[Dealt]]) -> list[list[Dealt]]:
    """The same questions, those on one video in one process, as evenly as whole videos allow.

    Every process comes to the same result.
    """
    videos: dict[str, list[Dealt]] = {}
    for dealt in (dealt for share in shares for dealt in share):
        videos.setdefault(dealt.question.video, []).append(dealt)
    found: list[list[Dealt]] = [[] for _ in shares]
    for questions in sorted(videos.values(), key=len, reverse=True):
        min(found, key=len).extend(questions)
    return found


def answer_together(
    mine: list[Dealt], answer: Callable[[list[Dealt]], Iterator[tuple[Dealt, Any]]]
) -> Iterator[tuple[Dealt, Any]]:
    """Answer the questions of all processes together; yields this one's. All of them must call this.

    Args:
        answer: answers questions in this process.
    """
    rank = torch.distributed.get_rank()
    of_others = []
    for dealt, answered in answer(deal(_exchange(mine))[rank]):
        if dealt.owner == rank:
            yield dealt, answered
        else:
            of_others.append((dealt, answered))
    for answers in _exchange(of_others):
        yield from ((dealt, answered) for dealt, answered in answers if dealt.owner == rank)


def _exchange(mine: Any) -> list[Any]:
    """What every process says, by its rank."""
    found = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, mine, group=_group())
    return found


def all_take_part(requests: Sequence[Any]) -> bool:
    """Tell, alike in every process, whether all of several are in this call.

    If one of them were missing, the others would hang. An engine in this process makes a group of one, which has
    nothing to exchange. With lmms-eval's own cache a process whose answers are all known is not called; an agent's
    processes go through different numbers of rounds; and a program that calls lmms-eval may or may not have a cache.
    """
    distributed = torch.distributed
    if not (requests and distributed.is_available() and distributed.is_initialized()):
        return False
    if distributed.get_world_size() == 1:
        return False
    tasks = {id(task): task for request in requests if (task := getattr(request.args[2], "__self__", None))}.values()
    commands = [getattr(task, "args", None) for task in tasks]
    agentic = any(getattr(task, "OUTPUT_TYPE", None) == "generate_until_agentic" for task in tasks)
    return bool(commands) and not agentic and all(hasattr(c, "use_cache") and not c.use_cache for c in commands)


@cache
def _group():
    """A group of processes for Python's objects, whatever lmms-eval's own exchanges are made with."""
    return torch.distributed.new_group(backend="gloo", timeout=_LONGEST_WAIT)
