"""The methods that SlowFast-LLaVA is compared with, in the engine, against loops (tests/reference_methods)."""

import numpy as np
import pytest
import torch
from PIL import Image
from vllm.renderers.inputs.preprocess import parse_model_prompt

from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.engine.offline.questions import Question
from sfllava_plugin.registry import Entry, packaged
from sfllava_plugin.tokens.layout import parse
from sfllava_plugin.video.decode import decode
from tests import reference
from tests.engine.support import FEATURES, KV_CACHE, assert_same_answer, forget, model_of
from tests.reference_family import checkpoints, models
from tests.reference_methods import ig_vlm, ts_llava

OPTIONS = ("a red bus", "two bikes", "a dog", "rain", "nothing")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A random LLaVA-NeXT with the real grid."""
    return checkpoints.write(tmp_path_factory.mktemp("methods") / "checkpoint", "llava-next")


@pytest.fixture(scope="module")
def runner_of(checkpoint, tmp_path_factory):
    """runner_of(name, **settings): an engine in float32 with the settings of a packaged name."""
    from sfllava_plugin.engine.offline import Runner

    started = {}

    def start(name: str, **settings):
        if name not in started:
            own = packaged().get(name).model_dump(include={"frames", "pathways", "sampling", "fit", "prompts"})
            entry = Entry(name="tested", checkpoint=str(checkpoint), **own | settings)
            directory = prepare(entry, tmp_path_factory.mktemp("prepared") / "model")
            arguments = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": KV_CACHE}
            started[name] = Runner(str(directory), arguments)
        return started[name]

    return start


@pytest.fixture(scope="module")
def ts(runner_of):
    return runner_of("ts-llava-7b", frames=7)


@pytest.fixture(scope="module")
def grid(runner_of):
    return runner_of("ig-vlm-7b")


def noise(count: int, height: int, width: int) -> np.ndarray:
    """Frames whose every line differs."""
    return np.random.default_rng(count * height + width).integers(0, 256, (count, height, width, 3), np.uint8)


def assert_answers_alike(runner, folder, answer, features) -> None:
    tokenizer = runner.engine.get_tokenizer()
    ids = reference.prompt_token_ids(tokenizer, answer.prompt.removeprefix(tokenizer.bos_token or "\0"))
    marker = tokenizer.convert_tokens_to_ids("<image>")
    expanded = [token for i in ids for token in ([marker] * len(features) if i is None else [i])]
    assert_same_answer(answer, expanded, models.greedy(folder, ids, features, 12))


# ---- TS-LLaVA, panels ------------------------------------------------------------------------


def thumbnails(folder, frames, notation) -> torch.Tensor:
    """Recompute a layout of thumbnails."""
    thumbnail, _, sampled = notation.partition("+sampled_")
    number = int(thumbnail.split("_")[1])
    parts = [ts_llava.thumbnail(folder, frames, number)]
    if sampled:
        parts.insert("first" in thumbnail, ts_llava.sampled(folder, frames, int(sampled)))
    return torch.cat(parts)


LAYOUTS = {
    "thumbnail_6+sampled_2880": (1, 4, 7),
    "thumbnail_6_first+sampled_2880": (6,),
    "thumbnail_4+sampled_1000": (5,),
    "thumbnail_8": (3, 7),
    "grids_4": (1, 4, 7),
    "grids_6": (7,),
}


@pytest.mark.parametrize("place", ["after_projector", "before_projector"])
@pytest.mark.parametrize("notation", LAYOUTS)
def test_a_composed_layout_gives_the_features_of_its_loops(ts, checkpoint, monkeypatch, notation, place):
    model, shown = model_of(ts), noise(7, 336, 336)
    config = model.video_config.model_copy(update={"pathways": parse(notation), "pool": place})
    monkeypatch.setattr(model, "video_config", config)
    for count in LAYOUTS[notation]:
        with torch.inference_mode():
            [found] = model.embed_multimodal(video_frames=[torch.from_numpy(shown[:count])])
        if notation.startswith("grids"):
            expected = ts_llava.grids(checkpoint, shown[:count], int(notation[-1]))
        else:
            expected = thumbnails(checkpoint, shown[:count], notation)
        assert found.shape == expected.shape == (config.tokens(count), 128)
        assert expected.abs().max() > 1, "zeros would prove nothing"
        assert (found - expected).abs().max() < FEATURES


@pytest.mark.parametrize("options", [(), OPTIONS], ids=["open", "choice"])
def test_an_answer_of_ts_llava_is_that_of_its_loops(ts, checkpoint, bikes, options):
    answer = ts.answer(Question(str(bikes), "What is happening?", options, max_tokens=12, logprobs=5))
    frames = decode(bikes, num_frames=7, image_size=336).frames
    features = thumbnails(checkpoint, frames, "thumbnail_6+sampled_2880")
    assert answer.video_tokens == len(features) == 3456
    assert_answers_alike(ts, checkpoint, answer, features)


# ---- IG-VLM ----------------------------------------------------------------------------------

#: Height and width of frames: wide, tall, a tie of canvases, and one which transformers rounds otherwise.
SIZES = [(100, 300), (120, 90), (72, 128), (132, 352)]


def processed(runner, frames: np.ndarray) -> dict:
    """Let vLLM's processor make a prompt with this video alone."""
    llm = runner.engine
    marker = llm.llm_engine.model_config.hf_config.image_token_index
    prompt = {"prompt_token_ids": [marker], "multi_modal_data": {"video": [frames]}}
    parsed = parse_model_prompt(llm.model_config, prompt)
    [rendered] = llm.renderer.render_cmpl([parsed], llm.renderer.default_cmpl_tok_params)
    return rendered


def embedded(runner, frames: np.ndarray) -> torch.Tensor:
    # The engine would get nothing of a video in its cache.
    forget(runner)
    rendered = processed(runner, frames)
    [item], [place] = rendered["mm_kwargs"]["video"], rendered["mm_placeholders"]["video"]
    kwargs = {name: [item[name].data] for name in ("video_frames", "video_sizes")}
    with torch.inference_mode():
        [tokens] = model_of(runner).embed_multimodal(**kwargs)
    assert len(tokens) == place.get_num_embeds()
    return tokens


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_grid_picture_gives_the_features_of_its_loops(grid, checkpoint, size):
    frames = noise(6, *size)
    found, expected = embedded(grid, frames), ig_vlm.features(checkpoint, frames)
    assert found.shape == expected.shape
    assert expected.abs().max() > 1, "zeros would prove nothing"
    assert (found - expected).abs().max() < FEATURES


@pytest.mark.parametrize(("size", "agree"), [(SIZES[0], True), (SIZES[1], True), (SIZES[2], False), (SIZES[3], False)])
def test_a_grid_picture_gives_the_features_of_transformers_where_roundings_agree(grid, checkpoint, size, agree):
    frames = noise(6, *size)
    expected = models.picture_features(checkpoint, ig_vlm.picture(frames))
    found = embedded(grid, frames)
    assert (found.shape == expected.shape) == agree
    assert not agree or (found - expected).abs().max() < FEATURES


def test_a_short_video_repeats_its_last_frame_in_the_grid(grid, checkpoint):
    frames = noise(2, 72, 128)
    expected = ig_vlm.features(checkpoint, frames[[0, 1, 1, 1, 1, 1]])
    assert (embedded(grid, frames) - expected).abs().max() < FEATURES


@pytest.mark.parametrize("options", [(), OPTIONS], ids=["open", "choice"])
def test_an_answer_of_ig_vlm_is_that_of_its_loops(grid, checkpoint, bikes, options):
    answer = grid.answer(Question(str(bikes), "What is happening?", options, max_tokens=12, logprobs=5))
    assert answer.frames == ig_vlm.step(250)
    frames = decode(bikes, num_frames=6, image_size=336, sampling="step", fit=grid.video_config.frame_fit).frames
    features = ig_vlm.features(checkpoint, frames)
    assert answer.video_tokens == len(features)
    assert_answers_alike(grid, checkpoint, answer, features)


def test_frames_of_several_sizes_become_one_picture(grid, tmp_path, checkpoint):
    """A folder of images need not have one size: the first decides."""
    frames = [Image.fromarray(noise(1, 72 + 8 * number, 128)[0]) for number in range(6)]
    for number, frame in enumerate(frames):
        frame.save(tmp_path / f"{number}.png")
    answer = grid.answer(Question(str(tmp_path), "What?", max_tokens=12, logprobs=5))
    alike = np.stack([np.asarray(frame.resize((128, 72), Image.BICUBIC)) for frame in frames])
    assert_answers_alike(grid, checkpoint, answer, ig_vlm.features(checkpoint, alike))
