"""Features and answers, against plain recomputation and transformers' own paths."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.reference_family import anyres, checkpoints, frames, models, original, pools, sizes
from tests.reference_family.test_frames import picture

HF = ("llava-1.5", "llava-next", "next-video", "onevision")
PROMPT = [5, 6, None, 7, 8]


def side_of(folder) -> int:
    return models.load(folder).config.vision_config.image_size


#: With positions as the program of LLaVA-NeXT-Video scales them, whatever the original config.json says.
SCALED = {"text_config": {"rope_scaling": {"factor": 2.0, "type": "linear"}}}


@pytest.mark.parametrize(("kind", "changes"), [("onevision", {}), ("next-video", SCALED)])
@pytest.mark.parametrize("real", [False, True])
def test_both_formats_hold_the_same_model(checkpoint, tmp_path, video, kind, changes, real):
    program = checkpoint(f"{kind}-original", real=real)
    hf = checkpoints.write(tmp_path, kind, image_size=side_of(program), changes=changes)
    shown = video(2, side_of(hf))
    features = models.native_video_features(hf, shown)
    assert torch.equal(models.native_video_features(program, shown), features)
    answers = [models.greedy(folder, PROMPT, features, 3) for folder in (hf, program)]
    assert answers[0].token_ids == answers[1].token_ids
    pieces = len(answers[1].first_logprobs)  # llava-hf has more rows
    logits = [models.logits(folder, models.embed(folder, PROMPT, features)) for folder in (hf, program)]
    assert torch.equal(logits[0][..., :pieces], logits[1])


def test_the_program_scales_vicunas_positions_by_two():
    assert original.rope_factor() == 2.0
    assert original.rope_factor(16) == 1.0


def test_an_original_next_video_scales_no_other_positions(checkpoint):
    for family, kind in (("vicuna", "linear"), ("yi", "default")):
        config = models.load(checkpoint("next-video-original", family=family)).config.text_config
        assert config.rope_parameters["rope_type"] == kind


@pytest.mark.parametrize("kind", HF)
def test_both_namings_hold_the_same_model(checkpoint, video, kind):
    published, module = checkpoint(kind), checkpoint(kind, names="module")
    shown = video(2, side_of(published))
    maps = models.projected_maps(published, shown)
    assert torch.equal(models.projected_maps(module, shown), maps)
    logits = [models.logits(folder, models.embed(folder, PROMPT, maps[0])) for folder in (published, module)]
    assert torch.equal(*logits)


def test_siglip_stops_before_the_last_norm(checkpoint, video):
    folder = checkpoint("onevision")
    tower, shown = models.load(folder).model.vision_tower, video(2, side_of(folder))
    with torch.no_grad():
        hidden = tower.embeddings(models.pixel_values(folder, shown))
        for layer in tower.encoder.layers:
            hidden = layer(hidden, None)
    assert torch.equal(models.tower_maps(folder, shown), hidden)


def test_clip_stops_one_layer_early_and_drops_its_class_token(checkpoint, video):
    folder = checkpoint("llava-next")
    tower, shown = models.load(folder).model.vision_tower, video(2, side_of(folder))
    with torch.no_grad():
        hidden = tower.pre_layrnorm(tower.embeddings(models.pixel_values(folder, shown)))
        for layer in tower.encoder.layers[:-1]:
            hidden = layer(hidden, None)
    assert torch.equal(models.tower_maps(folder, shown), hidden[:, 1:])


def test_siglip_never_sees_the_last_six_pixels(checkpoint, video):
    folder = checkpoint("onevision", real=True)
    shown = video(1, 384)
    changed = shown.copy()
    changed[:, 378:] = changed[:, :, 378:] = 0
    assert torch.equal(models.tower_maps(folder, shown), models.tower_maps(folder, changed))


@pytest.mark.parametrize("kind", sizes.KINDS)
def test_pixels_equal_the_plain_normalisation(checkpoint, video, kind):
    folder = checkpoint(kind)
    shown, clip = video(2, side_of(folder)), sizes.TOWER_OF[kind] == "clip"
    statistics = (frames.CLIP_MEAN, frames.CLIP_STD) if clip else (frames.HALF, frames.HALF)
    assert torch.equal(models.pixel_values(folder, shown), torch.from_numpy(frames.normalise(shown, *statistics)))


@pytest.mark.parametrize("kind", ["llava-1.5", "next-video", "next-video-original", "onevision", "llava-video"])
@pytest.mark.parametrize("real", [False, True])
def test_native_layouts_recomputed(checkpoint, video, kind, real):
    folder = checkpoint(kind, real=real)
    shown = video(3, side_of(folder))
    maps = pools.as_maps(models.projected_maps(folder, shown))
    if kind.startswith("next-video"):
        before = pools.as_maps(models.tower_maps(folder, shown))
        tokens = pools.every_frame(before, "average", project=lambda x: models.project(folder, x))
        assert (tokens - pools.every_frame(maps, "average")).abs().max() > 0.1  # not the same as pooling after
    elif kind == "onevision":
        tokens = pools.every_frame(maps, "bilinear", "end", models.newline(folder))
    elif kind == "llava-video":
        tokens = pools.every_frame(maps, "bilinear", "rows", models.newline(folder))
    else:
        tokens = pools.every_frame(maps, "concat")
    torch.testing.assert_close(models.native_video_features(folder, shown), tokens, atol=1e-5, rtol=0)


def test_llava_next_has_no_native_video(checkpoint, video):
    with pytest.raises(ValueError, match="no video layout"):
        models.native_video_features(checkpoint("llava-next"), video(1, 84))


def test_llava_videos_own_slowfast(tmp_path, video):
    changes = {"add_faster_video": True, "faster_token_stride": 3}
    folder = checkpoints.write(tmp_path, "llava-video", image_size=98, faster_token=True, changes=changes)
    assert len(models.native_video_features(folder, video(4, 98))) == 2 * (4 * 5 + 1) + 2 * (2 * 3 + 1)


# ---- pictures --------------------------------------------------------------------------------

# (height, width) at the tiny grid; the real grids see a few.
SIZES = [(84, 84), (98, 98), (120, 160), (160, 120), (88, 187), (80, 10), (10, 80), (180, 320), (288, 236), (125, 175)]
REAL_SIZES = [(352, 748), (500, 700), (1153, 944)]


def recomputed(folder, shown: Image.Image) -> torch.Tensor:
    config, vector = models.load(folder).config, models.newline(folder)
    side, sizes_ = config.vision_config.image_size, config.image_grid_pinpoints
    tiles = anyres.tiles(shown, sizes_, side)
    features = models.projected_maps(folder, np.stack([np.asarray(tile) for tile in tiles]))
    limit = anyres.MAX_TILES if hasattr(config, "vision_aspect_ratio") else None
    size = (shown.height, shown.width)
    tokens = anyres.pack(features, size, sizes_, side, vector, limit)
    assert len(tokens) == anyres.token_count(size, sizes_, side, side // 14, limit)
    return tokens


@pytest.mark.parametrize("kind", ["llava-next", "next-video", "onevision"])
@pytest.mark.parametrize("size", SIZES)
def test_pictures_recomputed(checkpoint, kind, size):
    folder, shown = checkpoint(kind), picture(size[1], size[0])
    tokens = models.picture_features(folder, shown)
    torch.testing.assert_close(tokens, recomputed(folder, shown), atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", ["llava-next", "onevision"])
@pytest.mark.parametrize("size", REAL_SIZES)
def test_pictures_on_real_grids(checkpoint, kind, size):
    folder, shown = checkpoint(kind, real=True), picture(size[1], size[0])
    tokens = models.picture_features(folder, shown)
    torch.testing.assert_close(tokens, recomputed(folder, shown), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["next-video", "onevision"])
def test_original_pictures_follow_the_program(checkpoint, kind):
    hf, program = checkpoint(kind), checkpoint(f"{kind}-original")
    shown = picture(175, 125)
    torch.testing.assert_close(models.picture_features(program, shown), models.picture_features(hf, shown))


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_llava_15_crops_or_pads(checkpoint, fit):
    folder, shown = checkpoint("llava-1.5"), picture(120, 90)
    square = frames.crop(shown, 84) if fit == "crop" else frames.pad(shown, 84, frames.CLIP_MEAN)
    expected = models.projected_maps(folder, np.asarray(square)[None])[0]
    torch.testing.assert_close(models.picture_features(folder, shown, fit=fit), expected)


def test_several_pictures_of_onevision_are_padded(checkpoint):
    folder, shown = checkpoint("onevision"), [picture(120, 90), picture(60, 98)]
    squares = np.stack([np.asarray(frames.pad(one, 98, frames.HALF)) for one in shown])
    maps = models.projected_maps(folder, squares)
    for tokens, features in zip(models.pictures_features(folder, shown), maps, strict=True):
        torch.testing.assert_close(tokens, torch.cat([features, models.newline(folder)[None]]))


# ---- text ------------------------------------------------------------------------------------


def test_answers_equal_transformers_video_path(checkpoint, video):
    for kind in ("next-video", "onevision"):
        folder = checkpoint(kind)
        model, shown = models.load(folder), video(3, side_of(folder))
        features = models.native_video_features(folder, shown)
        ids = torch.tensor([[5, 6, *[model.config.video_token_id] * len(features), 7, 8]])
        pixels = models.pixel_values(folder, shown)[None]
        with torch.no_grad():
            expected = model(input_ids=ids, pixel_values_videos=pixels).logits
            answer = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values_videos=pixels,
                max_new_tokens=4,
                do_sample=False,
            )
        assert torch.equal(models.logits(folder, models.embed(folder, PROMPT, features)), expected)
        assert models.greedy(folder, PROMPT, features, 4).token_ids == answer[0, ids.shape[1] :].tolist()


def test_answers_equal_transformers_picture_path(checkpoint):
    for kind in HF:
        folder, shown = checkpoint(kind), picture(120, 90)
        model, features = models.load(folder), models.picture_features(folder, shown)
        ids = torch.tensor([[5, 6, *[model.config.image_token_id] * len(features), 7, 8]])
        with torch.no_grad():
            expected = model(input_ids=ids, **models.picture_inputs(folder, [shown])).logits
        assert torch.equal(models.logits(folder, models.embed(folder, PROMPT, features)), expected)


def test_answers_depend_on_the_video(checkpoint, video):
    for kind in ("llava-1.5", "next-video", "onevision", "llava-video"):
        folder = checkpoint(kind)
        shown = video(3, side_of(folder))
        first, second = (
            models.greedy(folder, PROMPT, models.native_video_features(folder, frames_), 1).first_logprobs
            for frames_ in (shown, 255 - shown)
        )
        assert (first - second).abs().max() > 0.1


def test_greedy_stops_at_the_end(checkpoint, video):
    folder = checkpoint("onevision")
    end = models.read_json(folder, "generation_config.json")["eos_token_id"]
    assert len(end) == 2
    answer = models.greedy(folder, PROMPT, models.native_video_features(folder, video(2, 98)), 5, stop_at_eos=False)
    assert len(answer.token_ids) == len(answer.margins) == 5
    assert answer.first_logprobs.exp().sum() == pytest.approx(1, abs=1e-4)
