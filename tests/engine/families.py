"""The families in the engine: frames, features, pictures and answers, for comparison with their references."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from vllm.renderers.inputs.preprocess import parse_model_prompt

from sfllava_plugin.registry import packaged
from sfllava_plugin.video.decode import decode
from tests import reference
from tests.engine.support import assert_same_answer, forget, model_of
from tests.reference_family import models, pools


class Case(NamedTuple):
    """A checkpoint and the settings of its entry."""

    kind: str
    settings: dict
    family: str | None = None


def shipped(kind: str, name: str, **changes) -> Case:
    """Return a random checkpoint with the settings of a packaged entry."""
    of_files = {"name", "checkpoint", "revision", "format", "aliases", "engine"}
    return Case(kind, packaged().get(name).model_dump(exclude=of_files, exclude_none=True) | changes)


class Layout(NamedTuple):
    """A layout in the words of its settings; without slow frames, every frame is pooled alike."""

    slow: int
    pool: str
    fast: tuple[int, int] = (4, 4)
    newline: str = "none"
    order: str = "slow_first"
    place: str = "after_projector"

    @property
    def notation(self) -> str:
        height, width = self.fast
        return f"slowfast-slow_{self.slow}frms_{self.pool}-fast_{height}x{width}" if self.slow else self.pool


def expected_tokens(folder, tower_maps: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Lay out the features of the reference's tower, [T, g*g, C], by hand: [N, D]."""
    maps, project = pools.as_maps(tower_maps), lambda features: models.project(folder, features)
    if layout.place == "after_projector":
        maps, project = project(maps), lambda features: features
    vector = None if layout.newline == "none" else models.newline(folder)
    if layout.slow:
        arranged = (layout.newline, vector, layout.order)
        return pools.slowfast(maps, layout.slow, layout.pool, layout.fast, *arranged, project=project)
    return pools.every_frame(maps, layout.pool, layout.newline, vector, project)


def frames_of(runner, source, count: int | None = None) -> np.ndarray:
    """Decode the frames a model reads, or ``count`` of them: uint8 [T, S, S, 3]."""
    config = runner.video_config
    size, fit = config.geometry.image_size, config.frame_fit
    wanted = count or config.frames
    return decode(source, num_frames=wanted, image_size=size, sampling=config.sampling, fit=fit).frames


def embedded(runner, shown: np.ndarray) -> torch.Tensor:
    """Embed one video in the engine: [N, D]."""
    with torch.inference_mode():
        [tokens] = model_of(runner).embed_multimodal(video_frames=[torch.from_numpy(shown)])
    return tokens


def expanded(runner, prompt: str, features: list[torch.Tensor]) -> tuple[list[int | None], list[int]]:
    """Tokenise a prompt: with None for each video or picture, and with its placeholders."""
    tokenizer = runner.engine.get_tokenizer()
    ids = reference.prompt_token_ids(tokenizer, prompt.removeprefix(tokenizer.bos_token or "\0"))
    marker, counts = tokenizer.convert_tokens_to_ids("<image>"), iter(features)
    return ids, [token for i in ids for token in ([marker] * len(next(counts)) if i is None else [i])]


def assert_answers_alike(answer, folder, runner, features, sentence: str = "") -> None:
    """Compare an answer with transformers' own; ``sentence`` follows the video in the prompt."""
    ids, whole = expanded(runner, answer.prompt.replace("<image>\n", f"<image>\n{sentence}"), [features])
    assert_same_answer(answer, whole, models.greedy(folder, ids, features, 12))


def noise(size) -> Image.Image:
    """A picture whose every line differs."""
    return Image.fromarray(np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8))


def processed(runner, pictures, videos=()) -> dict:
    """What vLLM's processor makes of a prompt with these pictures and videos alone."""
    llm = runner.engine
    marker = llm.llm_engine.model_config.hf_config.image_token_index
    given = {"image": list(pictures), "video": list(videos)}
    prompt = {
        "prompt_token_ids": [marker] * (len(pictures) + len(videos)),
        "multi_modal_data": {modality: items for modality, items in given.items() if items},
    }
    parsed = parse_model_prompt(llm.model_config, prompt)
    [rendered] = llm.renderer.render_cmpl([parsed], llm.renderer.default_cmpl_tok_params)
    return rendered


def embedded_items(runner, pictures, videos=()) -> list[torch.Tensor]:
    """Embeddings of the videos and then the pictures of one prompt, through vLLM's processor."""
    # The engine would get nothing of a picture in its cache.
    forget(runner)
    rendered = processed(runner, pictures, videos)
    names = {"image_frames": "image", "image_sizes": "image", "video_frames": "video"}
    items = rendered["mm_kwargs"]
    kwargs = {name: [item[name].data for item in items.get(modality, ())] for name, modality in names.items()}
    with torch.inference_mode():
        embeddings = list(model_of(runner).embed_multimodal(**kwargs))
    places = [place for modality in ("video", "image") for place in rendered["mm_placeholders"].get(modality, ())]
    assert [len(one) for one in embeddings] == [place.get_num_embeds() for place in places]
    return embeddings
