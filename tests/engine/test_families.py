"""Every family in the engine, against transformers' own classes and a plain recomputation.

The references in tests/reference_family were written from a specification alone, and share no code with the package.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from vllm.renderers.inputs.preprocess import parse_model_prompt

from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.engine.offline.questions import Question
from sfllava_plugin.registry import Entry
from sfllava_plugin.video.decode import decode
from tests import reference
from tests.engine.support import FEATURES, KV_CACHE, assert_same_answer, forget, model_of
from tests.reference_family import checkpoints, frames, models, time_instruction


class Case(NamedTuple):
    """A checkpoint and the settings of its entry."""

    kind: str
    settings: dict
    family: str | None = None


NATIVE = {
    "onevision": Case("onevision", {}),
    "onevision-original": Case("onevision-original", {}),
    "llava-video": Case("llava-video", {"time_instruction": False}),
    "next-video": Case("next-video", {}),
    "next-video-34b": Case("next-video", {}, "yi"),
}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """written(case): the folder of a random checkpoint with the real grid."""
    done: dict[tuple, Path] = {}

    def write(case: Case) -> Path:
        key = (case.kind, case.family)
        if key not in done:
            done[key] = checkpoints.write(tmp_path_factory.mktemp(case.kind), case.kind, family=case.family)
        return done[key]

    return write


@pytest.fixture(scope="session")
def family_runner(written, tmp_path_factory):
    """family_runner(case): an engine in float32."""
    from sfllava_plugin.engine.offline import Runner

    started = {}

    def start(case: Case):
        key = str(case)
        if key not in started:
            entry = Entry(name="tested", checkpoint=str(written(case)), **case.settings)
            directory = prepare(entry, tmp_path_factory.mktemp("prepared") / "model")
            arguments = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": KV_CACHE}
            started[key] = Runner(str(directory), arguments)
        return started[key]

    return start


def frames_of(runner, source) -> np.ndarray:
    config = runner.video_config
    size, fit = config.geometry.image_size, config.frame_fit
    return decode(source, num_frames=config.frames, image_size=size, sampling=config.sampling, fit=fit).frames


def embedded(runner, shown: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        [tokens] = model_of(runner).embed_multimodal(video_frames=[torch.from_numpy(shown)])
    return tokens


@pytest.mark.parametrize("name", NATIVE)
def test_the_native_layout_gives_the_features_of_transformers(family_runner, written, bikes, name):
    runner, folder = family_runner(NATIVE[name]), written(NATIVE[name])
    shown = frames_of(runner, bikes)
    for count in (1, 2, 6, len(shown)):
        found = embedded(runner, shown[:count])
        expected = models.native_video_features(folder, shown[:count])
        assert found.shape == expected.shape == (runner.video_config.tokens(count), 128)
        assert expected.abs().max() > 1, "zeros would prove nothing"
        assert (found - expected).abs().max() < FEATURES


def assert_answers_alike(answer, folder, runner, features, sentence: str = "") -> None:
    """Compare an answer with transformers' own; ``sentence`` follows the video in the prompt."""
    tokenizer = runner.engine.get_tokenizer()
    prompt = answer.prompt.removeprefix(tokenizer.bos_token or "\0")
    ids = reference.prompt_token_ids(tokenizer, prompt.replace("<image>\n", f"<image>\n{sentence}"))
    marker = tokenizer.convert_tokens_to_ids("<image>")
    expanded = [token for i in ids for token in ([marker] * len(features) if i is None else [i])]
    assert_same_answer(answer, expanded, models.greedy(folder, ids, features, 12))


@pytest.mark.parametrize("name", NATIVE)
def test_an_answer_is_that_of_transformers(family_runner, written, bikes, name):
    runner, folder = family_runner(NATIVE[name]), written(NATIVE[name])
    answer = runner.answer(Question(str(bikes), "What is happening?", max_tokens=12, logprobs=5))
    features = models.native_video_features(folder, frames_of(runner, bikes))
    assert_answers_alike(answer, folder, runner, features)


@pytest.mark.parametrize("sampling", ["linspace", "second"])
def test_the_time_instruction_is_tokenised_with_the_question(family_runner, written, bikes, sampling):
    case = Case("llava-video", {"sampling": sampling})
    runner, folder = family_runner(case), written(case)
    answer = runner.answer(Question(str(bikes), "What is happening?", max_tokens=12, logprobs=5))
    features = models.native_video_features(folder, frames_of(runner, bikes))
    # bikes.mp4 has 250 frames, 25 a second: 10 of them are one a second apart.
    wanted = frames.linspace(250, 64) if sampling == "linspace" else frames.each_second(250, 64, 25.0)
    assert answer.frames == wanted and len(wanted) == {"linspace": 64, "second": 10}[sampling]
    sentence = time_instruction.for_video(250, 25.0, wanted, uniform=sampling == "linspace")
    assert_answers_alike(answer, folder, runner, features, f"{sentence}\n")


PICTURES = {
    "next": Case("llava-next", {}),
    "onevision": Case("onevision", {}),
    "onevision-original": Case("onevision-original", {}),
    "1.5": Case("llava-1.5", {}),
}
#: Height and width. Some are tall, some wide; 352 x 748 tells the roundings apart, 1153 x 944 is OneVision's largest.
SIZES = [(336, 336), (480, 640), (720, 1280), (40, 322), (352, 748), (1153, 944), (928, 1154), (100, 100), (700, 500)]


def noise(size) -> Image.Image:
    """A picture whose every line differs."""
    return Image.fromarray(np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8))


def embedded_pictures(runner, pictures) -> list[torch.Tensor]:
    """Embeddings of the pictures of one prompt, through vLLM's processor."""
    # The engine would get nothing of a picture in its cache.
    forget(runner)
    rendered = processed(runner, pictures)
    items = rendered["mm_kwargs"]["image"]
    kwargs = {name: [item[name].data for item in items] for name in ("image_frames", "image_sizes")}
    with torch.inference_mode():
        embeddings = list(model_of(runner).embed_multimodal(**kwargs))
    places = rendered["mm_placeholders"]["image"]
    assert [len(one) for one in embeddings] == [place.get_num_embeds() for place in places]
    return embeddings


def processed(runner, pictures) -> dict:
    """What vLLM's processor makes of a prompt with these pictures alone."""
    llm = runner.engine
    marker = llm.llm_engine.model_config.hf_config.image_token_index
    prompt = {"prompt_token_ids": [marker] * len(pictures), "multi_modal_data": {"image": pictures}}
    parsed = parse_model_prompt(llm.model_config, prompt)
    [rendered] = llm.renderer.render_cmpl([parsed], llm.renderer.default_cmpl_tok_params)
    return rendered


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_any_size_gives_the_features_of_its_reference(family_runner, written, name):
    runner, folder = family_runner(PICTURES[name]), written(PICTURES[name])
    for size in SIZES:
        picture = noise(size)
        [found] = embedded_pictures(runner, [picture])
        expected = models.picture_features(folder, picture)
        assert found.shape == expected.shape, size
        assert (found - expected).abs().max() < FEATURES, size


@pytest.mark.parametrize("name", ["next", "onevision"])
def test_several_pictures_of_one_prompt(family_runner, written, name):
    runner, folder = family_runner(PICTURES[name]), written(PICTURES[name])
    pictures = [noise(size) for size in ((480, 640), (40, 322), (640, 480))]
    expected = models.pictures_features(folder, pictures)
    for found, one in zip(embedded_pictures(runner, pictures), expected, strict=True):
        assert found.shape == one.shape
        assert (found - one).abs().max() < FEATURES


def test_a_picture_among_others_is_another_one_in_the_cache(family_runner):
    pictures = [noise((480, 640)), noise((40, 322))]
    for name, differs in (("next", False), ("onevision", True)):
        runner = family_runner(PICTURES[name])
        alone, among = (processed(runner, shown)["mm_hashes"]["image"][0] for shown in (pictures[:1], pictures))
        assert (alone != among) == differs
