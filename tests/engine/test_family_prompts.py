"""Several pictures and videos in one prompt, against transformers' features and a plain recomputation."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from tests.engine.families import (
    Case,
    Layout,
    embedded_items,
    expanded,
    expected_tokens,
    frames_of,
    noise,
    processed,
)
from tests.engine.support import FEATURES, LOGPROBS, MARGIN, forget
from tests.reference_family import models


class Prompt(NamedTuple):
    """Sizes of the pictures, and numbers of frames of the videos: videos take the first markers."""

    pictures: tuple[tuple[int, int], ...]
    videos: tuple[int, ...]


ONEVISION = Case("onevision", {})
#: Few tokens a video, so that two fit with two pictures.
SHORT = Layout(2, "spatial_2d_avg_pool", newline="frames", order="time")
NEXT = Case("llava-next", {"frames": 6, "pathways": SHORT.notation, "newline": "frames", "order": "time"})
CASES = {"onevision": ONEVISION, "next": NEXT}
WIDE, TALL, THIN = (480, 640), (500, 300), (40, 322)
PROMPTS = {
    ("onevision", "one of each"): Prompt((WIDE,), (3,)),
    ("onevision", "two of each"): Prompt((WIDE, THIN), (3, 2)),
    ("onevision", "three pictures"): Prompt((WIDE, TALL, THIN), ()),
    ("onevision", "two videos"): Prompt((), (2, 3)),
    ("next", "one of each"): Prompt((TALL,), (6,)),
    ("next", "two of each"): Prompt(((336, 336), THIN), (6, 2)),
    ("next", "three pictures"): Prompt((THIN, (322, 40), (336, 336)), ()),
}


def videos_of(runner, source, counts) -> list[np.ndarray]:
    """Videos that differ: each is turned a quarter further."""
    shown = frames_of(runner, source, max(counts, default=1))
    return [np.ascontiguousarray(np.rot90(shown[:count], i, (1, 2))) for i, count in enumerate(counts)]


def video_features(folder, name: str, shown: np.ndarray) -> torch.Tensor:
    if name == "onevision":
        return models.native_video_features(folder, shown)
    return expected_tokens(folder, models.tower_maps(folder, shown), SHORT)


@pytest.fixture(scope="module", params=PROMPTS, ids=" ".join)
def asked(request, family_runner, written, bikes):
    """The model's name, its engine and folder, the videos and pictures of a prompt, and their expected features."""
    name = request.param[0]
    runner, folder = family_runner(CASES[name]), written(CASES[name])
    prompt = PROMPTS[request.param]
    videos, pictures = videos_of(runner, bikes, prompt.videos), [noise(size) for size in prompt.pictures]
    expected = [video_features(folder, name, shown) for shown in videos]
    if pictures:
        expected += models.pictures_features(folder, pictures)
    return name, runner, folder, videos, pictures, expected


def test_each_has_the_features_of_its_reference(asked):
    _, runner, _, videos, pictures, expected = asked
    for found, one in zip(embedded_items(runner, pictures, videos), expected, strict=True):
        assert found.shape == one.shape
        assert (found - one).abs().max() < FEATURES


def test_each_has_the_features_it_has_alone(asked):
    """Except where OneVision pads a picture to a square without tiles, as one of several."""
    name, runner, _, videos, pictures, _ = asked
    together = embedded_items(runner, pictures, videos)
    alone = [embedded_items(runner, [], [video])[0] for video in videos]
    alone += [embedded_items(runner, [picture])[0] for picture in pictures]
    for i, (found, one) in enumerate(zip(together, alone, strict=True)):
        if name == "onevision" and len(pictures) > 1 and i >= len(videos):
            assert len(found) == 27 * 27 + 1 != len(one)
        else:
            assert found.shape == one.shape
            assert (found - one).abs().max() < FEATURES


def test_a_picture_beside_videos_alone_keeps_its_tiles(family_runner, bikes):
    """transformers counts the pictures of a prompt, not its videos."""
    runner = family_runner(ONEVISION)
    video, picture = frames_of(runner, bikes, 2), noise(WIDE)
    beside, alone = processed(runner, [picture], [video]), processed(runner, [picture])
    assert beside["mm_hashes"]["image"] == alone["mm_hashes"]["image"]
    assert beside["mm_placeholders"]["image"][0].get_num_embeds() == 2929


def generated(runner, prompt: str, videos: list[np.ndarray], pictures: list[Image.Image]):
    from vllm import SamplingParams

    given = {"video": videos, "image": pictures}
    request = {"prompt": prompt, "multi_modal_data": {name: items for name, items in given.items() if items}}
    sampling = SamplingParams(temperature=0, max_tokens=8, logprobs=5)
    [output] = runner.engine.generate(request, sampling, use_tqdm=False)
    return output


def test_an_answer_reads_them_in_their_order(asked):
    _, runner, folder, videos, pictures, expected = asked
    forget(runner)
    prompt = "USER: " + "".join(f"{i}: <image>\n" for i in range(len(expected))) + "What changed? ASSISTANT:"
    output = generated(runner, prompt, videos, pictures)
    ids, whole = expanded(runner, prompt, expected)
    assert list(output.prompt_token_ids) == whole
    answer = models.greedy(folder, ids, expected, 8)
    [completion] = output.outputs
    for token, found in completion.logprobs[0].items():
        assert abs(found.logprob - answer.first_logprobs[token].item()) < LOGPROBS
    sure = next((i for i, margin in enumerate(answer.margins) if margin < MARGIN), len(answer.margins))
    assert sure > 0, "the reference's first step is a toss-up: choose other pictures"
    assert list(completion.token_ids)[:sure] == answer.token_ids[:sure]
    if len(expected) > 1:
        turned = models.greedy(folder, ids, expected[::-1], 1)
        assert (turned.first_logprobs - answer.first_logprobs).abs().max() > 100 * LOGPROBS
