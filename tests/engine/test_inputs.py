"""Other inputs: images, several videos, frames of any size, invalid ones."""

import numpy as np
import pytest
import torch
from PIL import Image

from sfllava_plugin.video.decode import decode
from tests import reference
from tests.engine.support import model_of


@pytest.fixture
def generate():
    """generate(runner, prompt, **multi_modal_data): an output of up to 8 greedy tokens."""
    from vllm import SamplingParams

    def run(runner, prompt, **data):
        request = {"prompt": prompt} | ({"multi_modal_data": data} if data else {})
        [output] = runner.engine.generate(request, SamplingParams(temperature=0, max_tokens=8), use_tqdm=False)
        return output

    return run


@pytest.fixture(scope="module")
def compact(runners):
    """An engine with 576 tokens per video or picture: several fit one prompt."""
    return runners(hf_overrides={"sfllava": {"pathways": "temporal_global_pool", "max_tiles": 0}})


def recompute(folder, runner, prompt, features, steps=8):
    ids = reference.prompt_token_ids(runner.engine.get_tokenizer(), prompt)
    return reference.greedy(folder, ids, features, steps).token_ids


def test_several_videos_keep_their_order(compact, checkpoints, clips, generate):
    clips = [decode(clips(count), num_frames=50, image_size=336).frames for count in (12, 5)]
    clips[1] = np.ascontiguousarray(clips[1][:, ::-1])
    features = [reference.video_features(checkpoints(), clip, "temporal_global_pool") for clip in clips]
    prompt = "USER: First <image>\nthen <image>\nWhat changed? ASSISTANT:"
    answers = []
    for order in ((0, 1), (1, 0)):
        output = generate(compact, prompt, video=[clips[i] for i in order])
        expected = recompute(checkpoints(), compact, prompt, [features[i] for i in order])
        assert list(output.outputs[0].token_ids) == expected
        answers.append(expected)
    assert answers[0] != answers[1], "the order makes no difference"


def test_without_tiles_a_picture_is_one_unpooled_frame(compact, checkpoints, clips, generate):
    frame = decode(clips(1), num_frames=1, image_size=336).frames
    prompt = "USER: <image>\nWhat is it? ASSISTANT:"
    features = reference.video_features(checkpoints(), frame, "concat")
    output = generate(compact, prompt, image=Image.fromarray(frame[0]))
    assert list(output.outputs[0].token_ids) == recompute(checkpoints(), compact, prompt, features)


def test_the_video_takes_the_first_marker_and_the_image_the_second(compact, checkpoints, clips, generate):
    video = decode(clips(5), num_frames=50, image_size=336).frames
    image = decode(clips(1), num_frames=1, image_size=336).frames
    features = [
        reference.video_features(checkpoints(), video, "temporal_global_pool"),
        reference.video_features(checkpoints(), image, "concat"),
    ]
    prompt = "USER: <image>\n<image>\nSame place? ASSISTANT:"
    output = generate(compact, prompt, image=Image.fromarray(image[0]), video=video)
    assert list(output.outputs[0].token_ids) == recompute(checkpoints(), compact, prompt, features)


def test_frames_of_any_size_are_resized_as_in_the_loader(runners, bikes, generate):
    from decord import VideoReader

    prompt = runners().prompt("What is happening?")
    ours = decode(bikes, num_frames=50, image_size=336)
    original = VideoReader(str(bikes)).get_batch(list(ours.indices)).asnumpy()
    assert original.shape == (50, 272, 640, 3)
    outputs = [generate(runners(), prompt, video=frames) for frames in (original, ours.frames)]
    assert outputs[0].outputs[0].token_ids == outputs[1].outputs[0].token_ids


@pytest.mark.parametrize(
    ("prompt", "videos", "message"),
    [
        ("USER: hello ASSISTANT:", 1, "marks 0 videos"),
        ("USER: <image><image> hello ASSISTANT:", 1, "marks 2 videos"),
        ("USER: <image><image> hello ASSISTANT:", 2, "At most 1 video|maximum model length"),
        ("USER: <image>" + " hello" * 500, 1, "maximum model length"),
    ],
    ids=["no marker", "two markers", "two videos", "too long"],
)
def test_invalid_prompts_are_refused(runners, clips, generate, prompt, videos, message):
    from vllm.exceptions import VLLMClientError

    video = decode(clips(50), num_frames=50, image_size=336).frames
    with pytest.raises((ValueError, VLLMClientError), match=message):
        generate(runners(), prompt, video=[video] * videos)
    assert generate(runners(), "USER: <image> hello ASSISTANT:", video=video).outputs[0].token_ids


def test_invalid_videos_are_refused(runners, generate):
    prompt = "USER: <image> hello ASSISTANT:"
    for shape, message in (((51, 8, 8, 3), "51 frames"), ((0, 8, 8, 3), "0 frames"), ((2, 8, 8, 5), "frame is")):
        with pytest.raises(ValueError, match=message):
            generate(runners(), prompt, video=np.zeros(shape, np.uint8))


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_a_marker_without_a_video_stays_within_the_vocabulary(runners, generate, layout):
    marked = generate(runners(layout=layout), "USER: <image> hello ASSISTANT:")
    assert len(marked.outputs[0].token_ids) == 8


def test_memory_is_measured_with_the_largest_video(runners):
    from vllm.multimodal import MULTIMODAL_REGISTRY

    config = runners().engine.llm_engine.model_config
    dummy = MULTIMODAL_REGISTRY.create_processor(config).get_dummy_mm_inputs({"video": 1})
    [item] = dummy["mm_kwargs"]["video"]
    assert item["video_frames"].data.shape == (50, 336, 336, 3)
    assert dummy["mm_placeholders"]["video"][0].length == 3680


def test_vllm_may_use_lora_and_parallelism():
    from vllm.model_executor.models.interfaces import supports_lora, supports_multimodal, supports_pp

    from sfllava_plugin.engine.model.llava import SlowFastLlavaForConditionalGeneration as Model

    assert supports_multimodal(Model)
    assert supports_lora(Model)
    assert supports_pp(Model)
    assert Model.supports_encoder_tp_data


def test_the_projector_pools_before_its_second_linear(runners, clips, monkeypatch):
    """Frames on the fast path alone pass the second linear pooled."""
    model = model_of(runners())
    rows = []
    output = model.multi_modal_projector.output
    monkeypatch.setattr(
        model.multi_modal_projector, "output", lambda hidden: rows.append(hidden[..., 0].numel()) or output(hidden)
    )
    frames = torch.from_numpy(decode(clips(50), num_frames=50, image_size=336).frames)
    with torch.inference_mode():
        model.embed_multimodal(video_frames=[frames])
    assert sum(rows) == 10 * 576 + 50 * 16
