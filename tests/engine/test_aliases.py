"""A name from the registry as a vLLM model: what comes with it, and that the user's word wins."""

import pytest

from sfllava_plugin.engine.video_loader import LoaderSettings
from sfllava_plugin.limits import Limits
from tests.engine.support import KV_CACHE


@pytest.fixture
def arguments(monkeypatch, tmp_path, checkpoints):
    """arguments(entry settings, **engine arguments): vLLM's EngineArgs for the alias ``my-model``."""
    from vllm import EngineArgs

    def make(settings="", model="my-model", **given):
        registry = tmp_path / "registry.yaml"
        entry = f"  my-model:\n    checkpoint: {checkpoints()}\n    aliases: [mine]\n    prompts: vicuna\n"
        registry.write_text(f"models:\n{entry}{settings}")
        monkeypatch.setenv("SFLLAVA_REGISTRY", str(registry))
        return EngineArgs(model=model, enforce_eager=True, **given)

    return make


def test_what_comes_with_a_name(arguments):
    config = arguments(model="mine").create_engine_config()
    assert config.model_config.architecture == "SlowFastLlavaForConditionalGeneration"
    assert config.model_config.served_model_name == "mine"
    assert config.model_config.max_model_len == 4096
    video = config.model_config.multimodal_config.media_io_kwargs["video"]
    assert video == {"num_frames": 50, "sfllava": LoaderSettings(50, 336, Limits())}
    assert config.model_config.hf_config.slowfast_pathways == "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"


def test_what_the_user_sets_wins(arguments):
    settings = "    engine: {max_num_seqs: 7, dtype: bfloat16}\n"
    config = arguments(
        settings,
        max_model_len=3900,
        served_model_name="other",
        dtype="float32",
        media_io_kwargs={"video": {"num_frames": 8}},
        hf_overrides={"slowfast_pathways": "slowfast-slow_4frms_concat-fast_2x2"},
    ).create_engine_config()
    assert config.scheduler_config.max_num_seqs == 7
    assert str(config.model_config.dtype) == "torch.float32"
    assert config.model_config.max_model_len == 3900
    assert config.model_config.served_model_name == "other"
    assert config.model_config.multimodal_config.media_io_kwargs["video"]["num_frames"] == 8


def test_settings_of_the_entry(arguments):
    settings = "    frames: 16\n    pathways: temporal_global_pool\n    max_model_len: 1024\n"
    config = arguments(settings).create_engine_config().model_config
    assert config.max_model_len == 1024
    assert config.multimodal_config.media_io_kwargs["video"]["num_frames"] == 16
    assert config.hf_config.slowfast_pathways == "temporal_global_pool"


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ("    engine: {max_sequences: 7}\n", {}, "no engine argument 'max_sequences'"),
        ("", {"hf_overrides": {"slowfast_pathways": "medium_pool"}}, "unknown pathway 'medium_pool'"),
        ("", {"hf_overrides": {"slowfast_frames": 0}}, "slowfast_frames must be 1 to"),
        ("", {"hf_overrides": {"slowfast_pathways": "concat"}}, "50 frames through concat take 28800 tokens"),
        ("", {"max_model_len": 2048}, "take 3680 tokens, and the context is 2048"),
    ],
)
def test_settings_that_cannot_be(arguments, settings, given, message):
    with pytest.raises(ValueError, match=message):
        arguments(settings, **given).create_engine_config()


def test_other_models_are_left_alone(arguments, tmp_path):
    """A path that is no model directory passes through untouched."""
    from sfllava_plugin.engine.aliases import resolve

    given = arguments(model=str(tmp_path))
    resolve(given)
    assert (given.model, given.max_model_len, given.served_model_name) == (str(tmp_path), None, None)


def test_answers_by_name(arguments, bikes):
    """`LLM(model=NAME)` from Python, with a chat message that brings the video."""
    from vllm import LLM, SamplingParams

    arguments()
    engine = LLM(
        model="my-model",
        dtype="float32",
        enforce_eager=True,
        kv_cache_memory_bytes=KV_CACHE,
        allowed_local_media_path=str(bikes.parent),
    )
    content = [
        {"type": "video_url", "video_url": {"url": bikes.as_uri()}},
        {"type": "text", "text": "What is happening?"},
    ]
    [output] = engine.chat(
        [{"role": "user", "content": content}], SamplingParams(temperature=0, max_tokens=8), use_tqdm=False
    )
    assert output.prompt_token_ids.count(engine.get_tokenizer().convert_tokens_to_ids("<image>")) == 3680
    assert output.prompt.endswith("Question: What is happening? \nASSISTANT:\nAnswer: In the video,")
    assert len(output.outputs[0].token_ids) == 8


def test_registration_is_repeatable():
    from vllm import EngineArgs

    from sfllava_plugin.engine import register

    before = EngineArgs.create_engine_config
    register()
    register()
    assert EngineArgs.create_engine_config is before
