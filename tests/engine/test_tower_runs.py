"""The tower runs once per video; shared prefixes are not prefilled again."""

import random
from collections import Counter

import pytest
from PIL import Image

from sfllava_plugin.engine.offline import Answer, Question
from sfllava_plugin.video.decode import decode
from tests.engine.support import forget, model_of

VIDEOS, FRAMES = 20, 2
#: 7 x 288 + 2 x 35 tokens: more than the smallest step, and not a whole number of blocks.
PATHWAYS, VIDEO_TOKENS = "slowfast-slow_7frms_spatial_1d_max_pool-fast_5x7", 2086
#: The `prompt_frame` and the options of each question; "mixed" has several kinds on every video.
WRAPPERS = {
    "open": [(None, ())],
    "choice": [(None, ("a bus", "a bike"))],
    "none": [("none", ())],
    "complete": [("complete", ())],
    "mixed": [(None, ()), (None, ("a bus", "a bike")), ("none", ())],
}


@pytest.fixture(scope="module")
def videos(bikes, tmp_path_factory):
    """Twenty different videos of two frames each, as folders of images."""
    source = decode(bikes, num_frames=VIDEOS * FRAMES, image_size=112).frames
    folders = []
    for number in range(VIDEOS):
        folder = tmp_path_factory.mktemp(f"video-{number}")
        for i in range(FRAMES):
            Image.fromarray(source[number * FRAMES + i]).save(folder / f"{i}.png")
        folders.append(str(folder))
    return folders


def questions_on(videos, wrapper):
    kinds = WRAPPERS[wrapper]
    asked = []
    for video in videos:
        for number in range(8):
            prompt_frame, options = kinds[number % len(kinds)]
            text = f"{number}, what happens?"
            if prompt_frame == "complete":
                text = f"USER: <image>{text} ASSISTANT:"
            asked.append(Question(video, text, options, 3, prompt_frame))
    return asked


@pytest.fixture
def counted(monkeypatch):
    """counted(runner, questions): answers, tower runs per video, and cached tokens per question."""

    def run(runner, questions):
        forget(runner)
        model, towers = model_of(runner), Counter()
        hidden, finish = model._hidden, runner._finish
        cached = {}

        def tower(frames):
            towers[frames.numpy().tobytes()] += 1
            return hidden(frames)

        def finished(item, scoring, output):
            cached[item.position] = output.num_cached_tokens
            return finish(item, scoring, output)

        with monkeypatch.context() as patch:
            patch.setattr(model, "_hidden", tower)
            patch.setattr(runner, "_finish", finished)
            answers = dict(runner.answers(questions))
        assert all(isinstance(answer, Answer) for answer in answers.values()), answers
        return answers, towers, cached

    return run


def shared_blocks(prompts, block_size):
    """Return, for each prompt, the length of the longest prefix shared with an earlier one.

    Only whole blocks count, and the last token is never shared.
    """
    found = []
    for position, prompt in enumerate(prompts):
        most = 0
        for other in prompts[:position]:
            alike = next((i for i, (a, b) in enumerate(zip(prompt, other, strict=False)) if a != b), len(prompt))
            most = max(most, min(alike, len(prompt) - 1) // block_size * block_size)
        found.append(most)
    return found


# 32 is the smallest block size of vLLM's CPU attention; test_sharing.py covers 16, a GPU's.
@pytest.mark.parametrize(
    ("block_size", "most_tokens"),
    [
        (128, 2048),
        *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in [(128, 8192), (128, 16384)]),
        *(pytest.param(32, most, marks=pytest.mark.slow) for most in (2048, 8192, 16384)),
    ],
)
def test_the_tower_runs_once_per_video(runners, videos, counted, block_size, most_tokens):
    runner = runners(
        block_size=block_size,
        max_num_batched_tokens=most_tokens,
        kv_cache_memory_bytes=16 * 2**20,
        hf_overrides={"sfllava": {"frames": FRAMES, "pathways": PATHWAYS}},
    )
    # A sixth of the videos fit into the cache, so that some are evicted, as on a GPU.
    assert runner.video_config.tokens(FRAMES) == VIDEO_TOKENS
    for wrapper in WRAPPERS:
        questions = questions_on(videos, wrapper)
        random.Random(0).shuffle(questions)
        answers, towers, cached = counted(runner, questions)
        assert sorted(towers.values()) == [1] * VIDEOS, (wrapper, towers.values())
        for video in videos:
            of_video = [position for position, question in enumerate(questions) if question.video == video]
            prompts = [answers[position].prompt_token_ids for position in of_video]
            # The sum does not depend on the order of the questions.
            least = sum(shared_blocks(prompts, block_size))
            assert sum(cached[position] for position in of_video) >= least, wrapper
