"""PLLaVA in the engine, against a plain LLaVA-1.5 with merged weights and PLLaVA's pooling."""

import numpy as np
import pytest
import torch

from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.registry import Entry
from sfllava_plugin.video.decode import decode
from tests import reference
from tests.engine.support import FEATURES, KV_CACHE, assert_same_answer, model_of
from tests.reference_family import models, pllava

#: Architecture, language model, and alpha; None is the family's own.
CASES = {
    "7b": ("PlavaForConditionalGeneration", "vicuna", None),
    "7b as trained": ("PllavaForConditionalGeneration", "vicuna", 32),
    "34b": ("PllavaForConditionalGeneration", "yi", None),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """An engine in float32, and the folder of its twin."""
    from sfllava_plugin.engine.offline import Runner

    architecture, family, alpha = CASES[request.param]
    base = tmp_path_factory.mktemp("pllava")
    folder = pllava.write(base / "checkpoint", architecture=architecture, family=family)
    directory = prepare(Entry(name="tested", checkpoint=str(folder), lora_alpha=alpha), base / "model")
    arguments = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": KV_CACHE}
    return Runner(str(directory), arguments), pllava.twin(folder, base / "twin", 4 if alpha is None else alpha)


def frames_of(runner, source) -> np.ndarray:
    config = runner.video_config
    size, fit = config.geometry.image_size, config.frame_fit
    return decode(source, num_frames=config.frames, image_size=size, sampling=config.sampling, fit=fit).frames


def test_features_are_those_of_the_plain_reference(case, bikes):
    runner, twin = case
    frames = frames_of(runner, bikes)
    assert frames.shape == (16, 336, 336, 3)
    for count in (1, 2, 6, 16):
        with torch.inference_mode():
            [found] = model_of(runner).embed_multimodal(video_frames=[torch.from_numpy(frames[:count])])
        expected = pllava.video_features(twin, frames[:count])
        assert found.shape == expected.shape == (2304, 128)
        assert runner.video_config.tokens(count) == 2304
        assert expected.abs().max() > 1, "zeros would prove nothing"
        assert (found - expected).abs().max() < FEATURES


def test_an_answer_is_that_of_the_merged_model(case, bikes):
    from sfllava_plugin.engine.offline import Question

    runner, twin = case
    answer = runner.answer(Question(str(bikes), "What is happening?", max_tokens=12, logprobs=5))
    features = pllava.video_features(twin, frames_of(runner, bikes))
    tokenizer = runner.engine.get_tokenizer()
    ids = reference.prompt_token_ids(tokenizer, answer.prompt.removeprefix(tokenizer.bos_token or "\0"))
    marker = tokenizer.convert_tokens_to_ids("<image>")
    expanded = [token for i in ids for token in ([marker] * len(features) if i is None else [i])]
    assert_same_answer(answer, expanded, models.greedy(twin, ids, features, 12))


def test_the_program_repeats_frames_as_averaging_does_only_where_one_is_all(case, bikes):
    runner, twin = case
    frames = frames_of(runner, bikes)
    for count, same in ((1, True), (6, False), (8, False)):
        averaged, filled = (
            pllava.video_features(twin, shown) for shown in (frames[:count], pllava.repeated(frames[:count]))
        )
        assert ((averaged - filled).abs().max() < FEATURES) == same
