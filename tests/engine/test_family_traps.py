"""Mistakes that load without an error: each moves features or answers far beyond the tolerance of the exactness tests.

tests/test_traps.py has the whole list.
"""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from vllm.config import set_current_vllm_config
from vllm.model_executor.model_loader.utils import process_weights_after_loading
from vllm.model_executor.models.siglip import SiglipVisionModel

from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.engine.offline.questions import Question
from sfllava_plugin.registry import Entry
from sfllava_plugin.video.decode import decode
from tests import reference
from tests.engine.support import FEATURES, KV_CACHE, LOGPROBS, assert_same_answer, model_of
from tests.reference_family import checkpoints, models
from tests.reference_family.frames import CLIP_MEAN, CLIP_STD

#: A mistake must move features by as many tolerances.
FAR = 1000 * FEATURES
ARGUMENTS = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": KV_CACHE}
#: LLaVA-NeXT-Video 7B on the hub.
SCALED = {"text_config": {"rope_scaling": {"factor": 2.5, "type": "linear"}}}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """started(kind, settings, **options): an engine of four frames, and the folder of its random checkpoint."""
    from sfllava_plugin.engine.offline import Runner

    engines = {}

    def start(kind, settings=None, **options):
        key = f"{kind} {settings} {options}"
        if key not in engines:
            folder = checkpoints.write(tmp_path_factory.mktemp(kind), kind, **options)
            entry = Entry(name="tested", checkpoint=str(folder), frames=4, **settings or {})
            directory = prepare(entry, tmp_path_factory.mktemp("prepared") / "model")
            engines[key] = Runner(str(directory), ARGUMENTS), folder
        return engines[key]

    return start


def shown_of(runner, source, side: int | None = None) -> np.ndarray:
    config = runner.video_config
    size = side or config.geometry.image_size
    return decode(
        source, num_frames=config.frames, image_size=size, sampling=config.sampling, fit=config.frame_fit
    ).frames


def embedded(runner, shown: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        [tokens] = model_of(runner).embed_multimodal(video_frames=[torch.from_numpy(shown)])
    return tokens


class Selecting(torch.nn.Module):
    """A tower that is asked for layers."""

    def __init__(self, tower: torch.nn.Module, layers: list[int]) -> None:
        super().__init__()
        self.tower, self.layers = tower, layers

    def forward(self, pixels: torch.Tensor, feature_select_strategy: str) -> torch.Tensor:
        return self.tower(pixels, select_layers=self.layers, feature_select_strategy=feature_select_strategy)


def built(runner, folder, changes: dict, settings: dict) -> torch.nn.Module:
    """Build vLLM's SigLIP with the checkpoint's weights, and a changed configuration or other settings."""
    config = copy.deepcopy(model_of(runner).config.vision_config)
    for name, value in changes.items():
        setattr(config, name, value)
    vllm_config = runner.engine.llm_engine.vllm_config
    with set_current_vllm_config(vllm_config):
        tower = SiglipVisionModel(config, prefix="trap", **settings)
    weights, root = load_file(folder / "model.safetensors"), "vision_tower.vision_model."
    own = {name.removeprefix(root): weight for name, weight in weights.items() if name.startswith(root)}
    tower.vision_model.load_weights(own.items())
    process_weights_after_loading(tower, vllm_config.model_config, torch.device("cpu"))
    return tower


#: The random tower has 3 layers and 2 heads of 72, as the real one has 26 and 16.
CUT = {"num_hidden_layers_override": 3, "require_post_norm": False}
TOWERS = {
    "post_layernorm, vLLM's default": ({}, CUT | {"require_post_norm": None}),
    "layer -2 of the layers in the files": ({}, CUT | {"num_hidden_layers_override": 2}),
    "more and narrower heads": ({"num_attention_heads": 3}, CUT),
}


def test_the_right_siglip_tower_is_exact(started, bikes, monkeypatch):
    """The towers below differ from it by their mistake alone."""
    runner, folder = started("onevision")
    shown = shown_of(runner, bikes)[:2]
    monkeypatch.setitem(model_of(runner)._modules, "vision_tower", built(runner, folder, {}, CUT))
    assert (embedded(runner, shown) - models.native_video_features(folder, shown)).abs().max() < FEATURES


@pytest.mark.parametrize("name", TOWERS)
def test_a_wrong_siglip_tower_is_noticed(started, bikes, monkeypatch, name):
    runner, folder = started("onevision")
    shown = shown_of(runner, bikes)[:2]
    monkeypatch.setitem(model_of(runner)._modules, "vision_tower", built(runner, folder, *TOWERS[name]))
    assert (embedded(runner, shown) - models.native_video_features(folder, shown)).abs().max() > FAR


def test_the_last_layer_of_a_cut_tower_is_its_embeddings(started, bikes, monkeypatch):
    """vLLM counts negative layers from the end of the uncut tower: -1 becomes 0."""
    runner, folder = started("onevision")
    shown = shown_of(runner, bikes)[:2]
    tower = Selecting(built(runner, folder, {"num_hidden_layers": 4}, CUT), [-1])
    pixels = models.pixel_values(folder, shown)
    with torch.inference_mode():
        found = tower(pixels, "full")
        embeddings = models.load(folder).model.vision_tower.embeddings(pixels)
    assert (found - embeddings).abs().max() < FEATURES
    monkeypatch.setitem(model_of(runner)._modules, "vision_tower", tower)
    assert (embedded(runner, shown) - models.native_video_features(folder, shown)).abs().max() > FAR


def test_378_pixels_are_noticed(started, bikes):
    """They make as many patches as 384."""
    runner, folder = started("onevision")
    expected = models.native_video_features(folder, shown_of(runner, bikes))
    found = embedded(runner, shown_of(runner, bikes, 378))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() > FAR


@pytest.mark.parametrize(("statistic", "values"), [("mean", CLIP_MEAN), ("std", CLIP_STD)])
def test_the_statistics_of_clip_are_noticed(started, bikes, monkeypatch, statistic, values):
    runner, folder = started("onevision")
    shown, buffers = shown_of(runner, bikes), model_of(runner).frame_encoder._buffers
    monkeypatch.setitem(buffers, statistic, torch.tensor(values).view(3, 1, 1))
    assert (embedded(runner, shown) - models.native_video_features(folder, shown)).abs().max() > FAR


def test_the_wrong_place_of_the_pooling_is_noticed(started, bikes, monkeypatch):
    """LLaVA-NeXT-Video has as many tokens either way."""
    runner, folder = started("next-video")
    shown, model = shown_of(runner, bikes), model_of(runner)
    expected = models.native_video_features(folder, shown)
    assert (embedded(runner, shown) - expected).abs().max() < FEATURES
    after = model.video_config.model_copy(update={"pool": "after_projector"})
    monkeypatch.setitem(model.__dict__, "video_config", after)
    found = embedded(runner, shown)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() > FAR


@pytest.mark.parametrize("every", [1, 3])
def test_interleaved_frames_are_those_of_the_reconstruction(started, bikes, every):
    """With the checkpoint's own `faster_token`, in its own format."""
    changes = {"add_faster_video": True, "faster_token_stride": every}
    settings = {"pathways": f"interleaved_{every}", "order": "time"}
    runner, folder = started("llava-video", settings, faster_token=True, changes=changes)
    shown = shown_of(runner, bikes)
    for count in (1, 2, 4):
        found, expected = embedded(runner, shown[:count]), models.native_video_features(folder, shown[:count])
        assert found.shape == expected.shape == (runner.video_config.tokens(count), 128)
        assert (found - expected).abs().max() < FEATURES


def reference_answer(runner, folder, prompt: str, shown: np.ndarray):
    """Expanded prompt, and the greedy answer of transformers."""
    tokenizer = runner.engine.get_tokenizer()
    ids = reference.prompt_token_ids(tokenizer, prompt.removeprefix(tokenizer.bos_token or "\0"))
    features, marker = models.native_video_features(folder, shown), tokenizer.convert_tokens_to_ids("<image>")
    expanded = [token for i in ids for token in ([marker] * len(features) if i is None else [i])]
    return expanded, models.greedy(folder, ids, features, 12)


CASES = {
    "a head that is the embedding": ("onevision", {"tied": True}),
    "positions scaled by 2.5": ("next-video", {"changes": SCALED}),
}


@pytest.mark.parametrize("name", CASES)
def test_an_answer_is_that_of_transformers(started, bikes, name):
    kind, options = CASES[name]
    runner, folder = started(kind, **options)
    answer = runner.answer(Question(str(bikes), "What is happening?", max_tokens=12, logprobs=5))
    assert_same_answer(answer, *reference_answer(runner, folder, answer.prompt, shown_of(runner, bikes)))


def test_another_scaling_of_the_positions_is_noticed(started, bikes, tmp_path):
    runner, folder = started("next-video", changes=SCALED)
    shown, prompt = shown_of(runner, bikes), runner.prompt("What is happening?", ())
    _, right = reference_answer(runner, folder, prompt, shown)
    for factor in (None, 2.0):
        changes = {"text_config": {"rope_scaling": factor and {"factor": factor, "type": "linear"}}}
        other = checkpoints.write(tmp_path / str(factor), "next-video", changes=changes)
        _, wrong = reference_answer(runner, other, prompt, shown)
        assert (wrong.first_logprobs - right.first_logprobs).abs().max() > 100 * LOGPROBS
