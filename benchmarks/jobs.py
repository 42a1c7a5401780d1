"""Many questions on many videos, three ways, in one run.

    plain      transformers, everything anew for every question, as the program released with the paper does it
    one by one vLLM with our model, a question at a time, each decoding its video, in the order of a benchmark's file:
               the videos one after the other, again and again
    ours       the runner: all questions at once

What a question costs the first way does not depend on the job, so it is timed on a few; the others do the whole job, or
a stated part of it.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from benchmarks import plain
from benchmarks.ours import OurModel
from benchmarks.timing import Clock, now
from benchmarks.watch import DECODING, ENGINE, GENERATION, PREFILL, TOWER, WAYS, PeakMemory, watched
from sfllava_plugin.engine.offline.questions import Answer, Question

#: About what an answer in the benchmarks' style takes.
TOKENS = 16
_SUBJECTS = ("first", "last", "largest", "smallest", "nearest", "farthest", "brightest", "darkest")


@dataclass(frozen=True)
class Job:
    """How many videos, and how many questions on each."""

    videos: int
    questions: int


@dataclass(frozen=True)
class Timing:
    """What one way took for a job.

    Attributes:
        seconds: for each question.
        asked: how many questions were really asked.
        stages: seconds in all that each stage took, by name; decoding may run beside the rest.
        gigabytes: the most memory the process had.
    """

    way: str
    videos: int
    questions: int
    seconds: float
    asked: int
    stages: dict[str, float]
    gigabytes: float

    def __str__(self) -> str:
        job = f"{self.videos} videos x {self.questions} questions"
        return f"{job}, {self.way}: {self.seconds:.2f} s a question ({self.asked} asked)"

    @property
    def busy(self) -> float | None:
        """The share of the time in which the engine worked; None if nobody saw into it."""
        if not any(stage in self.stages for stage in ENGINE):
            return None
        return sum(self.stages.get(stage, 0.0) for stage in ENGINE) / (self.seconds * self.asked)


def count(options) -> int:
    """How many timings `timings` yields."""
    return len(WAYS) * len(options.questions) * len(options.videos)


def timings(ours: OurModel, other: plain.PlainModel, videos: list[str], options, image_size: int) -> Iterator[Timing]:
    """All three ways for every job: the plain way before each job, so that a machine that changes its pace shows.

    Raises:
        RuntimeError: two ways gave different answers.
    """
    for each in options.questions:
        for count in options.videos:
            job = Job(count, each)
            asked = questions(videos[:count], each)
            expected, timing = time_plain(ours, other, asked, job, image_size, options.few)
            yield timing
            yield time_one_by_one(ours, asked, job, max(options.few, min(len(asked), 2 * each)))
            timing = time_ours(ours, asked, job)
            _compare(expected, ours.likely_answers(asked[: len(expected)]))
            yield timing


def questions(videos: list[str], each: int) -> list[Question]:
    """`each` questions on every video, the videos one after the other, again and again."""
    texts = [f"What is the {subject} thing in the video?" for subject in _SUBJECTS[:each]]
    return [Question(video, text, max_tokens=TOKENS) for text in texts for video in videos]


def time_plain(
    ours: OurModel, other: plain.PlainModel, asked: list[Question], job: Job, image_size: int, few: int
) -> tuple[list[list[int]], Timing]:
    """Everything anew for each of the first `few` questions; also their answers' tokens."""
    clock, answers, seconds = Clock(), [], []
    read = clock.around(DECODING, plain.read_frames)
    tower = clock.around(TOWER, other.video_tokens)
    prefill = clock.around(PREFILL, other.prefill)
    generate = clock.around(GENERATION, other.generate)
    with PeakMemory() as memory:
        for question in asked[:few]:
            start = now()
            frames = read(question.video, ours.indices(question.video), image_size)
            video = tower(torch.from_numpy(frames).to(ours.device))
            _, tokens = generate(prefill(ours.tokenise(question.text), ours.marker, video), TOKENS - 1)
            seconds.append(now() - start)
            answers.append(tokens)
    timing = Timing(
        "plain", job.videos, job.questions, statistics.mean(seconds), len(seconds), clock.seconds, memory.gigabytes
    )
    return answers, timing


def time_one_by_one(ours: OurModel, asked: list[Question], job: Job, few: int) -> Timing:
    """A question at a time through vLLM, the first `few` of them."""
    ours.forget()
    with PeakMemory() as memory:
        start, count = now(), 0
        for question in islice(asked, few):
            ours.answer_alone(question)
            count += 1
        seconds = now() - start
    return Timing("one by one", job.videos, job.questions, seconds / count, count, {}, memory.gigabytes)


def time_ours(ours: OurModel, asked: list[Question], job: Job) -> Timing:
    """The whole job through the runner."""
    ours.forget()
    with PeakMemory() as memory, watched(ours.runner, ours.model) as clock:
        start = now()
        for _ in ours.runner.answers(asked):
            pass
        seconds = now() - start
    return Timing("ours", job.videos, job.questions, seconds / len(asked), len(asked), clock.seconds, memory.gigabytes)


def _compare(plain_answers: list[list[int]], our_answers: list[Answer]) -> None:
    """Random weights leave toss-ups, after which two greedy answers part; but what one begins with, the other knows."""
    for tokens, answer in zip(plain_answers, our_answers, strict=False):
        likely = [candidate["token_id"] for candidate in answer.logprobs]
        if tokens[0] not in likely:
            raise RuntimeError(f"the plain answer begins with token {tokens[0]}, which is not among ours, {likely}")
