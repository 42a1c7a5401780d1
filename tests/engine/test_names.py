"""Every registered name in the engine: as many embeddings as are counted, and answers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.engine.offline.questions import Question
from sfllava_plugin.video.decode import decode
from tests.engine.support import LOGPROBS, model_of
from tests.named_checkpoints import NamedCheckpoints, entries, marked, pairs

# `make names` runs them all, `make doors` those of one name of each family.
pytestmark = pytest.mark.slow
NAMES = tuple(entries())


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def named_runner(tmp_path_factory):
    """named_runner(name): an engine; names with equal settings and checkpoints share it."""
    from sfllava_plugin.engine.offline import Runner

    named, started = NamedCheckpoints(tmp_path_factory.mktemp("named")), {}

    def start(name):
        entry = named.entry(name)
        key = entry.model_dump_json(exclude={"name", "aliases"})
        if key not in started:
            started[key] = Runner(str(prepare(entry, tmp_path_factory.mktemp("prepared") / "model")))
        return started[key]

    return start


@pytest.mark.parametrize("name", marked(NAMES))
def test_a_name_makes_the_tokens_it_counts_and_answers(named_runner, bikes, picture, name):
    runner = named_runner(name)
    config, entry = runner.video_config, entries()[name]
    assert config.frames == runner.frames == entry.frames
    context = runner.engine.llm_engine.model_config.max_model_len
    assert context == (entry.max_model_len or context)
    frames = decode(
        bikes,
        num_frames=config.frames,
        image_size=config.geometry.image_size,
        sampling=config.sampling,
        fit=config.frame_fit,
    ).frames
    assert len(frames) == entry.frames
    with torch.inference_mode():
        [made] = model_of(runner).embed_multimodal(video_frames=[torch.from_numpy(frames)])
    assert len(made) == config.tokens(len(frames)) < context

    marker = runner.engine.llm_engine.model_config.hf_config.image_token_index
    answers = set()
    for source, tokens in (
        (str(bikes), len(made)),
        ((str(picture),), config.picture_tokens((300, 500), several=False)),
        ((), 0),
    ):
        answer = runner.answer(Question(source, "What is it?", max_tokens=8))
        assert answer.prompt_token_ids.count(marker) == answer.video_tokens == tokens
        assert answer.text
        answers.add(answer.text)
    assert len(answers) == 3


@pytest.mark.names
@pytest.mark.parametrize(("name", "original"), pairs())
def test_both_formats_give_the_same_answers(named_runner, bikes, picture, name, original):
    for source in (str(bikes), (str(picture),), (str(picture), str(picture)), ()):
        question = Question(source, "What is it?", max_tokens=12, logprobs=5)
        found, same = (named_runner(either).answer(question) for either in (name, original))
        assert found.prompt == same.prompt
        # The marker's id may differ: each format adds it to its own vocabulary.
        assert len(found.prompt_token_ids) == len(same.prompt_token_ids)
        assert found.token_ids == same.token_ids
        for one, other in zip(found.logprobs, same.logprobs, strict=True):
            assert one["token_id"] == other["token_id"]
            assert abs(one["logprob"] - other["logprob"]) < LOGPROBS
