"""The traps of the LLaVA family: mistakes that load, run and answer, and the tests that fall into each.

A test here is named by its file and function. Those of tests/engine need vLLM.
"""

import re
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from sfllava_plugin.checkpoints.video_config import Pictures, VideoConfig
from sfllava_plugin.tokens import interleaved
from sfllava_plugin.tokens.arrangement import Arrangement
from sfllava_plugin.tokens.geometry import Geometry, Grid
from sfllava_plugin.tokens.layout import parse, video_tokens
from tests.reference_family import anyres, pools

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"

TRAPS = {
    "a SigLIP tower read with 378 pixels, 18 heads, post_layernorm, layer -2 or CLIP's statistics": [
        "engine/test_family_traps.py::test_a_wrong_siglip_tower_is_noticed",
        "engine/test_family_traps.py::test_378_pixels_are_noticed",
        "engine/test_family_traps.py::test_the_statistics_of_clip_are_noticed",
        "checkpoints/test_towers.py::test_an_original_siglip_tower_is_no_clip",
        "checkpoints/test_towers.py::test_the_real_siglip_tower",
        "checkpoints/test_towers.py::test_the_program_never_runs_the_27th_siglip_layer",
    ],
    "vLLM's defaults for SigLIP: the last norm is on, and layer -1 of a cut tower is its embeddings": [
        "engine/test_family_traps.py::test_a_wrong_siglip_tower_is_noticed",
        "engine/test_family_traps.py::test_the_last_layer_of_a_cut_tower_is_its_embeddings",
    ],
    "bilinear taken for average, which drops the 27th line": [
        "test_traps.py::test_bilinear_is_no_average",
        "tokens/test_pools.py::test_frames_pooled_alike_equal_the_reference",
        "tokens/test_pools.py::test_counts_of_the_specification",
    ],
    "pooling after the projector instead of before it, for as many tokens": [
        "test_traps.py::test_the_place_of_the_pooling_is_not_in_the_count",
        "engine/test_family_traps.py::test_the_wrong_place_of_the_pooling_is_noticed",
        "tokens/test_pools.py::test_slow_and_fast_tokens_equal_the_reference",
    ],
    "positions of NeXT-Video scaled by 2, by 2.5 or not, by revision": [
        "engine/test_family_traps.py::test_another_scaling_of_the_positions_is_noticed",
        "engine/test_family_traps.py::test_an_answer_is_that_of_transformers",
        "checkpoints/test_rope.py::test_next_video_as_its_files_say",
        "checkpoints/test_rope.py::test_the_program_of_next_video_scales_vicuna_alone",
        "checkpoints/test_rope.py::test_an_entry_scales_and_its_context_follows",
    ],
    "a family told by its model_type": [
        "checkpoints/test_families.py::test_a_published_configuration_is_recognised",
        "checkpoints/test_relatives.py::test_a_relative_is_refused_by_name",
    ],
    "canvases read as (width, height) or (height, width)": [
        "tokens/test_anyres.py::test_the_first_of_equal_canvases_wins",
        "checkpoints/test_families.py::test_canvases_are_heights_and_widths",
    ],
    "transformers and the programs differ in fit, sampling, system message and rounding": [
        "tokens/test_anyres.py::test_the_program_does_not_round",
        "video/test_resize.py::test_every_fit_is_that_of_the_reference",
        "video/test_sampling.py::test_linspace_is_that_of_the_llava_next_programs",
        "checkpoints/test_families.py::test_its_settings",
        "checkpoints/test_families.py::test_its_pictures",
        "checkpoints/test_families.py::test_its_prompts",
    ],
    "LLaVA-Video's newlines, sampling and times, with repeats, a missing space and no known rate": [
        "prompts/test_time_instruction.py::test_frames_spread_evenly",
        "prompts/test_time_instruction.py::test_one_frame_a_second",
        "prompts/test_time_instruction.py::test_frames_that_happen_to_be_a_second_apart",
        "prompts/test_time_instruction.py::test_the_trained_sentence",
        "prompts/test_time_instruction.py::test_no_instruction_without_a_rate",
        "tokens/test_pools.py::test_counts_of_the_specification",
        "engine/test_families.py::test_the_time_instruction_is_tokenised_with_the_question",
    ],
    "LLaVA-Video's own slow and fast frames, which no released program runs": [
        "test_traps.py::test_interleaved_frames_are_called_a_reconstruction",
        "tokens/test_pools.py::test_interleaved_frames_equal_the_reference",
        "engine/test_family_traps.py::test_interleaved_frames_are_those_of_the_reconstruction",
        "checkpoints/test_video_config.py::test_what_interleaved_frames_need_is_named",
    ],
    "PLLaVA without its adapters, or with another alpha": [
        "checkpoints/test_adapters.py::test_merged_weights_equal_a_plain_recomputation",
        "checkpoints/test_adapters.py::test_alpha_changes_the_cached_directory",
        "engine/test_pllava.py::test_features_are_those_of_the_plain_reference",
        "engine/test_pllava.py::test_an_answer_is_that_of_the_merged_model",
    ],
    "Video-LLaVA, whose program flips frames at random": [
        "checkpoints/test_relatives.py::test_a_relative_is_refused_by_name",
    ],
    "pictures of 8765 tokens, which every model would reserve memory for": [
        "test_traps.py::test_max_tiles_bounds_a_picture",
        "tokens/test_anyres.py::test_no_picture_has_more_tokens_than_the_largest",
    ],
    "a tied head that is in no file, and Qwen2's base of the positions": [
        "checkpoints/test_families.py::test_a_head_that_is_in_no_file_is_the_embedding",
        "checkpoints/test_rope.py::test_the_base_of_the_positions_stays",
        "engine/test_family_traps.py::test_an_answer_is_that_of_transformers",
    ],
    "vLLM's own LLaVA models as the reference, which resize by torchvision": [
        "test_traps.py::test_no_test_compares_with_vllms_own_models",
    ],
    "equality asked of bfloat16": [
        "test_traps.py::test_in_bfloat16_the_order_of_two_linear_maps_shows",
    ],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_has_tests_that_fall_into_it(trap):
    for name in TRAPS[trap]:
        file, _, function = name.partition("::")
        assert re.search(rf"^def {function}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE), name


def test_there_are_sixteen():
    assert len(TRAPS) == 16


SIGLIP = Geometry(
    tower="siglip",
    rows=27,
    columns=27,
    image_size=384,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    feature_layer=-1,
    class_token=False,
)


def test_bilinear_is_no_average():
    """They are the same on an even grid alone; on 27 x 27 patches, 196 tokens tell one from 169 of the other."""
    features = torch.randn(1, 729, 4)
    assert [len(video_tokens(features, pool)) for pool in ("bilinear", "average")] == [196, 169]
    last = features.clone()
    last.view(27, 27, 4)[26] = last.view(27, 27, 4)[:, 26] = 9
    assert torch.equal(video_tokens(features, "average"), video_tokens(last, "average"))
    assert not torch.equal(video_tokens(features, "bilinear"), video_tokens(last, "bilinear"))
    # Halving an even side, the half-pixel centres are the middles of 2 x 2 patches.
    even = features[:, :576]
    torch.testing.assert_close(video_tokens(even, "bilinear"), video_tokens(even, "average"))


def test_the_place_of_the_pooling_is_not_in_the_count():
    grid, features = Grid(rows=24, columns=24), torch.randn(2, 576, 8)
    first, second = torch.randn(8, 16), torch.randn(16, 8)
    after = parse("average")
    before = after.arranged(Arrangement(pool="before_projector"))
    assert before.count(2, grid) == after.count(2, grid) == 2 * 144
    hidden = F.gelu(features @ first)
    tokens = after.tokens([hidden], 2, grid, lambda pooled: pooled @ second, {})
    others = before.tokens([features], 2, grid, lambda pooled: F.gelu(pooled @ first) @ second, {})
    assert tokens.shape == others.shape
    assert (tokens - others).abs().max() > 1


def test_interleaved_frames_are_called_a_reconstruction():
    assert "reconstruction" in interleaved.__doc__
    [row] = [line for line in (DOCS / "models.md").read_text(encoding="utf-8").splitlines() if "`interleaved_" in line]
    assert "reconstruction" in row


@pytest.mark.parametrize(("most", "tokens"), [(None, 8765), (9, 7371), (4, 3753), (1, 1485), (0, 729)])
def test_max_tiles_bounds_a_picture(most, tokens):
    canvases = tuple(anyres.pinpoints(anyres.ONEVISION_TILES, 384))
    config = VideoConfig(
        frames=32,
        pathways="bilinear",
        max_tiles=most,
        pictures=Pictures(canvases=canvases, limit=9, several="square"),
        geometry=SIGLIP,
        weights=("image_newline",),
        trained_vocab_size=152_064,
    )
    assert config.picture_tokens(config.largest_picture, several=False) == tokens
    for size in ((1080, 1920), (1153, 944), (2304, 2304), (4000, 1)):
        assert config.picture_tokens(size, several=False) <= tokens


def test_no_test_compares_with_vllms_own_models():
    own = re.compile(r"^(from|import) vllm\.model_executor\.models\.llava", re.MULTILINE)
    files = sorted(TESTS.rglob("*.py"))
    assert files and not [file for file in files if own.search(file.read_text(encoding="utf-8"))]


def test_in_bfloat16_the_order_of_two_linear_maps_shows():
    """The programs pool after the second linear, and this package before it: for a tolerance, not for equality."""
    torch.manual_seed(0)
    hidden, weight, grid = torch.randn(4, 729, 64), torch.randn(64, 64) / 8, Grid(rows=27, columns=27)
    tokens = {}
    for dtype in (torch.float32, torch.bfloat16):
        given, second = hidden.to(dtype), weight.to(dtype)
        between = parse("bilinear").tokens([given], 4, grid, lambda pooled, second=second: pooled @ second, {})
        after = pools.every_frame(pools.as_maps(given @ second), "bilinear")
        tokens[dtype] = between.float(), after.float()
    exact = tokens[torch.float32][1]
    assert (tokens[torch.float32][0] - exact).abs().max() < 1e-4
    between, after = tokens[torch.bfloat16]
    assert not torch.equal(between, after)
    assert (between - after).abs().max() < 0.1
    # One rounding less: it is no further from the exact tokens.
    assert (between - exact).abs().mean() <= (after - exact).abs().mean() * 1.1
