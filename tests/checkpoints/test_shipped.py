"""Every packaged name, with the family, the frames and the tokens it promises. Weights are not needed."""

from dataclasses import replace

import pytest

from sfllava_plugin.checkpoints.families import FAMILIES
from sfllava_plugin.checkpoints.families.towers import CLIP
from sfllava_plugin.checkpoints.settings import Settings, settle
from sfllava_plugin.registry import Entry, packaged
from sfllava_plugin.tokens.arrangement import Arrangement
from sfllava_plugin.tokens.geometry import Grid
from tests.checkpoints.published import PUBLISHED

FAMILY = {family.name: family for family in FAMILIES}
#: By name: family, frames, tokens, context.
PROMISED = {
    "sf-llava-7b": ("LLaVA-NeXT", 50, 3680, 4096),
    "sf-llava-7b-original": ("LLaVA-NeXT", 50, 3680, 4096),
    "sf-llava-34b": ("LLaVA-NeXT", 50, 3680, 4096),
    "sf-llava-34b-original": ("LLaVA-NeXT", 50, 3680, 4096),
    "sf-llava-mistral-7b": ("LLaVA-NeXT", 50, 3680, 4096),
    "sf-llava-llama3-8b": ("LLaVA-NeXT", 50, 3680, 4096),
    "ts-llava-7b": ("LLaVA-NeXT", 50, 3456, 4096),
    "ts-llava-34b": ("LLaVA-NeXT", 50, 3456, 4096),
    # The most that a video may have.
    "ig-vlm-7b": ("LLaVA-NeXT", 6, 2928, 4096),
    "ig-vlm-13b": ("LLaVA-NeXT", 6, 2928, 4096),
    "ig-vlm-34b": ("LLaVA-NeXT", 6, 2928, 4096),
    "onevision-0.5b": ("LLaVA-OneVision", 32, 6273, None),
    "onevision-7b": ("LLaVA-OneVision", 32, 6273, None),
    "onevision-72b": ("LLaVA-OneVision", 32, 6273, None),
    "onevision-0.5b-original": ("LLaVA-OneVision", 32, 6273, None),
    "onevision-7b-original": ("LLaVA-OneVision", 32, 6273, None),
    "onevision-72b-original": ("LLaVA-OneVision", 32, 6273, None),
    "sf-onevision-0.5b": ("LLaVA-OneVision", 96, 6241, None),
    "sf-onevision-7b": ("LLaVA-OneVision", 96, 6241, None),
    "sf-onevision-72b": ("LLaVA-OneVision", 96, 6241, None),
    "llava-video-7b": ("LLaVA-Video", 64, 13440, None),
    "llava-video-72b": ("LLaVA-Video", 64, 13440, None),
    "sf-llava-video-7b": ("LLaVA-Video", 128, 9280, None),
    "llava-next-video-7b": ("LLaVA-NeXT-Video", 32, 4608, 8192),
    "llava-next-video-7b-dpo": ("LLaVA-NeXT-Video", 32, 4608, 8192),
    "llava-next-video-34b": ("LLaVA-NeXT-Video", 32, 4608, 8192),
    "llava-next-video-34b-dpo": ("LLaVA-NeXT-Video", 32, 4608, 8192),
    "llava-next-video-7b-original": ("LLaVA-NeXT-Video", 32, 4608, 8192),
    "llava-next-video-7b-dpo-original": ("LLaVA-NeXT-Video", 32, 4608, 8192),
    "llava-next-video-34b-original": ("LLaVA-NeXT-Video", 32, 4608, 8192),
    "llava-next-video-34b-dpo-original": ("LLaVA-NeXT-Video", 32, 4608, 8192),
    "sf-llava-next-video-7b": ("LLaVA-NeXT-Video", 50, 2240, 4096),
    "sf-llava-next-video-7b-dpo": ("LLaVA-NeXT-Video", 50, 2240, 4096),
    "sf-llava-next-video-34b": ("LLaVA-NeXT-Video", 50, 2240, 4096),
    "sf-llava-next-video-34b-dpo": ("LLaVA-NeXT-Video", 50, 2240, 4096),
    "llava-next-image-7b": ("LLaVA-NeXT", 32, 4608, 8192),
    "llava-next-image-34b": ("LLaVA-NeXT", 32, 4608, 8192),
    "pllava-7b": ("PLLaVA", 16, 2304, None),
    "pllava-13b": ("PLLaVA", 16, 2304, None),
    "pllava-34b": ("PLLaVA", 16, 2304, None),
    "llava-1.5-7b": ("LLaVA-1.5", 4, 2304, None),
    "llava-1.5-13b": ("LLaVA-1.5", 4, 2304, None),
    "sf-llava-1.5-7b": ("LLaVA-1.5", 50, 3680, None),
    "sf-llava-1.5-13b": ("LLaVA-1.5", 50, 3680, None),
}


def settled(name: str) -> tuple[Entry, Settings]:
    entry, family = packaged().get(name), FAMILY[PROMISED[name][0]]
    return entry, settle(entry, family.native, family.name)


def tokens(settings: Settings, side: int) -> int:
    arrangement = Arrangement(settings.newline, settings.order, settings.pool)
    layout = settings.pathways.arranged(arrangement)
    layout.check(Grid.square(side * side))
    return layout.count(settings.frames, Grid.square(side * side))


def test_every_name_is_promised():
    assert {entry.name for entry in packaged()} == {*PROMISED, "sf-llava-tiny"}


@pytest.mark.parametrize("name", PROMISED)
def test_a_name_has_its_frames_tokens_and_context(name):
    family, frames, count, context = PROMISED[name]
    entry, settings = settled(name)
    if entry.checkpoint in PUBLISHED:
        assert PUBLISHED[entry.checkpoint][0] == family
        assert entry.format in (None, PUBLISHED[entry.checkpoint][1])
    side = 24 if FAMILY[family].tower == CLIP else 27
    assert (settings.frames, tokens(settings, side), settings.max_model_len) == (frames, count, context)
    assert count < (context or 32768)


def test_a_native_name_has_every_setting_of_its_family():
    for name in PROMISED:
        entry, settings = settled(name)
        if entry.pathways == "native":
            native = FAMILY[PROMISED[name][0]].native
            assert settings.max_model_len == entry.max_model_len
            changed = {"frames": native.frames, "pathways": settings.native}
            assert all(getattr(settings, key) == value for key, value in changed.items())
            # LLaVA-NeXT-Video was evaluated on a frame a second.
            sampling = "second" if native.pool == "before_projector" else native.sampling
            assert settings.sampling == sampling
            unchanged = ("newline", "order", "pool", "fit", "time_instruction")
            assert all(getattr(settings, key) == getattr(native, key) for key in unchanged)
            assert settings.rope == "checkpoint"


@pytest.mark.parametrize(
    ("name", "rope"), [("llava-next-image-7b", "linear-2"), ("llava-next-image-34b", "unscaled-8192")]
)
def test_next_image_has_the_settings_of_its_published_figures(name, rope):
    _, settings = settled(name)
    assert (settings.newline, settings.sampling, settings.fit) == ("none", "second", "crop")
    assert (settings.rope, settings.pool) == (rope, "before_projector")
    assert settings.max_model_len == 2 * 4096


def test_methods_on_the_papers_weights_have_their_settings():
    for size in ("7b", "34b"):
        _, slow_fast = settled(f"sf-llava-{size}")
        _, thumbnail = settled(f"ts-llava-{size}")
        _, grid = settled(f"ig-vlm-{size}")
        # TS-LLaVA differs in its tokens alone.
        assert replace(thumbnail, pathways=slow_fast.pathways) == slow_fast
        assert (grid.sampling, grid.fit, str(grid.pathways)) == ("step", "native", "image_grid_3x2")
    free, settings = packaged().get("freeva"), settled("llava-1.5-7b")[1]
    assert free.name == "llava-1.5-7b" and packaged().get("freeva-13b").name == "llava-1.5-13b"
    assert (settings.frames, str(settings.pathways), settings.sampling) == (4, "concat", "middles")


def test_slow_and_fast_keep_the_newlines_and_the_instruction_of_training():
    assert settled("sf-onevision-7b")[1].newline == "end"
    assert settled("sf-llava-video-7b")[1].newline == "rows"
    assert settled("sf-llava-video-7b")[1].time_instruction
    assert settled("sf-llava-next-video-7b")[1].pool == "before_projector"
