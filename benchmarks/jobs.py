"""Time many questions on many videos in three ways.

    plain      transformers, which repeats everything for every question, like the program released with the paper
    one by one vLLM with our model, one question at a time, decoding the video each time. Questions cycle through the
               videos, as in a benchmark's file
    ours       the runner, given all questions at once

The plain way's cost per question does not depend on the job, so it is timed on a few questions. The others do the whole
job, or a stated part of it.
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
from sfllava_plugin.engine.offline import Answer, Question

#: About the length of an answer in benchmarks.
TOKENS = 16
_SUBJECTS = ("first", "last", "largest", "smallest", "nearest", "farthest", "brightest", "darkest")


@dataclass(frozen=True)
class Job:
    """Number of videos, and of questions on each."""

    videos: int
    questions: int


@dataclass(frozen=True)
class Timing:
    """Time and memory of one way of doing a job.

    Attributes:
        seconds: per question.
        asked: questions really asked.
        stages: total seconds of each stage, by name. Decoding may overlap the rest.
        gigabytes: peak memory of the process.
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
        """Share of the time in which the engine worked.

        None if the engine was in another process.
        """
        if not any(stage in self.stages for stage in ENGINE):
            return None
        return sum(self.stages.get(stage, 0.0) for stage in ENGINE) / (self.seconds * self.asked)


def count(options) -> int:
    """Number of timings that `timings` yields."""
    return len(WAYS) * len(options.questions) * len(options.videos)


def timings(ours: OurModel, other: plain.PlainModel, videos: list[str], options, image_size: int) -> Iterator[Timing]:
    """Time every job in all three ways.

    The plain way is repeated for each job, which reveals a machine whose speed changes.

    Raises:
        RuntimeError: plain and ours gave different answers.
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
    """List `each` questions on every video, cycling through the videos."""
    texts = [f"What is the {subject} thing in the video?" for subject in _SUBJECTS[:each]]
    return [Question(video, text, max_tokens=TOKENS) for text in texts for video in videos]


def time_plain(
    ours: OurModel, other: plain.PlainModel, asked: list[Question], job: Job, image_size: int, few: int
) -> tuple[list[list[int]], Timing]:
    """Time the plain way on `few` questions; also return the answers' tokens."""
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
    """Time the first `few` questions through vLLM, one at a time."""
    ours.forget()
    with PeakMemory() as memory:
        start, count = now(), 0
        for question in islice(asked, few):
            ours.answer_alone(question)
            count += 1
        seconds = now() - start
    return Timing("one by one", job.videos, job.questions, seconds / count, count, {}, memory.gigabytes)


def time_ours(ours: OurModel, asked: list[Question], job: Job) -> Timing:
    """Time the whole job in the runner."""
    ours.forget()
    with PeakMemory() as memory, watched(ours.runner, ours.model) as clock:
        start = now()
        for _ in ours.runner.answers(asked):
            pass
        seconds = now() - start
    return Timing("ours", job.videos, job.questions, seconds / len(asked), len(asked), clock.seconds, memory.gigabytes)


def _compare(plain_answers: list[list[int]], our_answers: list[Answer]) -> None:
    """Check that each plain answer starts with a token likely in ours.

    Whole answers may differ: random weights produce near-ties, after which greedy answers diverge.

    Raises:
        RuntimeError: one does not.
    """
    for tokens, answer in zip(plain_answers, our_answers, strict=False):
        likely = [candidate["token_id"] for candidate in answer.logprobs]
        if tokens[0] not in likely:
            raise RuntimeError(f"the plain answer begins with token {tokens[0]}, which is not among ours, {likely}")
