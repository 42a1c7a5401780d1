"""Names from the registry as vLLM models; the user's arguments win."""

import pytest

from sfllava_plugin.engine.serving.video_loader import LoaderOptions
from sfllava_plugin.limits import Limits
from sfllava_plugin.video.fit import Fit
from tests.engine.support import KV_CACHE


@pytest.fixture
def arguments(monkeypatch, tmp_path, checkpoints):
    """arguments(settings of the entry, **engine arguments): vLLM's EngineArgs for the name ``my-model``."""
    from vllm import EngineArgs

    def make(settings="", model="my-model", **explicit):
        registry = tmp_path / "registry.yaml"
        entry = f"  my-model:\n    checkpoint: {checkpoints()}\n    aliases: [mine]\n    prompts: vicuna\n"
        registry.write_text(f"models:\n{entry}{settings}")
        monkeypatch.setenv("SFLLAVA_REGISTRY", str(registry))
        return EngineArgs(model=model, enforce_eager=True, **explicit)

    return make


def test_a_name_brings_its_defaults(arguments):
    config = arguments(model="mine").create_engine_config()
    assert config.model_config.architecture == "SlowFastLlavaForConditionalGeneration"
    assert config.model_config.served_model_name == "mine"
    assert config.model_config.max_model_len == 4096
    video = config.model_config.multimodal_config.media_io_kwargs["video"]
    squash = Fit("squash", fill=(122, 116, 104))
    assert video == {"num_frames": 50, "sfllava": LoaderOptions(50, 336, Limits(), "middles", squash)}
    assert config.model_config.hf_config.sfllava["pathways"] == "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"


def test_explicit_arguments_win(arguments):
    settings = "    engine: {max_num_seqs: 7, dtype: bfloat16}\n"
    config = arguments(
        settings,
        max_model_len=3900,
        served_model_name="other",
        dtype="float32",
        media_io_kwargs={"video": {"num_frames": 8}},
        hf_overrides={"sfllava": {"pathways": "slowfast-slow_4frms_concat-fast_2x2"}},
    ).create_engine_config()
    assert config.scheduler_config.max_num_seqs == 7
    assert str(config.model_config.dtype) == "torch.float32"
    assert config.model_config.max_model_len == 3900
    assert config.model_config.served_model_name == "other"
    assert config.model_config.multimodal_config.media_io_kwargs["video"]["num_frames"] == 8


#: Engine defaults of the entry, each different from vLLM's.
DEFAULTS = "    engine: {enforce_eager: true, seed: 5, max_num_seqs: 7, mm_processor_cache_gb: 1}\n"


@pytest.fixture
def configuration_of(arguments, monkeypatch):
    """configuration_of(function): the configuration of the engine that it would start."""
    from vllm.v1.engine.llm_engine import LLMEngine

    # Not an Exception, which the runner would report as a failed start.
    class Stopped(BaseException):
        pass

    def stop(engine_args, usage_context):
        raise Stopped(engine_args.create_engine_config())

    def call(make):
        arguments(DEFAULTS)
        monkeypatch.setattr(LLMEngine, "from_engine_args", stop)
        with pytest.raises(Stopped) as stopped:
            make()
        return stopped.value.args[0]

    return call


def test_in_python_a_value_equal_to_vllms_default_is_explicit(configuration_of):
    from vllm import LLM

    config = configuration_of(lambda: LLM(model="my-model", enforce_eager=False, max_num_seqs=9)).model_config
    assert (config.enforce_eager, config.seed) == (False, 5)
    config = configuration_of(lambda: LLM("my-model", seed=0)).model_config
    assert (config.enforce_eager, config.seed) == (True, 0)


def test_in_python_a_mapping_hides_values_equal_to_vllms_default(configuration_of):
    from vllm import LLM

    config = configuration_of(lambda: LLM(**{"model": "my-model", "enforce_eager": False, "seed": 3})).model_config
    assert (config.enforce_eager, config.seed) == (True, 3)


def test_in_the_runner_a_value_equal_to_vllms_default_is_explicit(configuration_of):
    from sfllava_plugin.engine.offline import Runner

    made = configuration_of(lambda: Runner("my-model", {"enforce_eager": False}))
    assert (made.model_config.enforce_eager, made.model_config.seed) == (False, 5)
    assert made.scheduler_config.max_num_seqs == 7
    # The model's default wins over the runner's.
    assert made.model_config.multimodal_config.mm_processor_cache_gb == 1


@pytest.mark.parametrize(
    ("options", "eager", "seed", "sequences"),
    [
        ([], True, 5, 7),
        (["--no-enforce-eager"], False, 5, 7),
        (["--no_enforce_eager", "--max-num-seqs=9"], False, 5, 9),
        (["--enforce-eager", "--seed", "0"], True, 0, 7),
        (["--config", "{config}"], False, 0, 7),
    ],
)
@pytest.mark.parametrize("command", ["serve", "run-batch"])
def test_on_vllms_command_line_a_value_equal_to_vllms_default_is_explicit(
    arguments, tmp_path, command, options, eager, seed, sequences
):
    from vllm import AsyncEngineArgs
    from vllm.entrypoints.cli import run_batch, serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    arguments(DEFAULTS)
    # vLLM 0.32 drops `enforce-eager: false` in a file before it parses the options.
    (tmp_path / "config.yaml").write_text("no-enforce-eager: true\nseed: 0\n")
    options = [option.replace("{config}", str(tmp_path / "config.yaml")) for option in options]
    parser = FlexibleArgumentParser()
    subparsers = parser.add_subparsers(dest="subparser")
    for module in (serve, run_batch):
        module.cmd_init()[0].subparser_init(subparsers)
    files = ["-i", "in.jsonl", "-o", "out.jsonl"] if command == "run-batch" else []
    args = parser.parse_args([command, "--model", "my-model", *files, *options])
    if command == "serve":
        args.model = args.model_tag
    config = AsyncEngineArgs.from_cli_args(args).create_engine_config()
    assert (config.model_config.enforce_eager, config.model_config.seed) == (eager, seed)
    assert config.scheduler_config.max_num_seqs == sequences


def test_settings_of_the_entry_apply(arguments):
    settings = "    frames: 16\n    pathways: temporal_global_pool\n    max_model_len: 1024\n"
    config = arguments(settings).create_engine_config().model_config
    assert config.max_model_len == 1024
    assert config.multimodal_config.media_io_kwargs["video"]["num_frames"] == 16
    assert config.hf_config.sfllava["pathways"] == "temporal_global_pool"


@pytest.mark.parametrize(
    ("settings", "explicit", "message"),
    [
        ("    engine: {max_sequences: 7}\n", {}, "no engine argument 'max_sequences'"),
        ("", {"hf_overrides": {"sfllava": {"pathways": "medium_pool"}}}, "unknown pathway 'medium_pool'"),
        ("", {"hf_overrides": {"sfllava": {"frames": 0}}}, "sfllava.frames must be 1 to"),
        ("", {"hf_overrides": {"sfllava": {"pathways": "concat"}}}, "50 frames through concat take 28800 tokens"),
        ("", {"max_model_len": 2048}, "take 3680 tokens, and the context is 2048"),
    ],
)
def test_invalid_settings_are_refused(arguments, settings, explicit, message):
    with pytest.raises(ValueError, match=message):
        arguments(settings, **explicit).create_engine_config()


@pytest.mark.parametrize(
    ("settings", "override", "explicit", "scaling", "context"),
    [
        ("rope: linear-2", "checkpoint", {}, "default", 4096),
        ("rope: linear-2", "linear-1.5", {}, "linear", 6144),
        ("max_model_len: 5000", "linear-2", {}, "linear", 5000),
        ("frames: 50", "linear-2", {}, "linear", 8192),
        ("frames: 50", "linear-2", {"max_model_len": 7000}, "linear", 7000),
    ],
)
def test_an_override_of_rope_is_as_in_an_entry(arguments, settings, override, explicit, scaling, context):
    found = arguments(f"    {settings}\n", hf_overrides={"sfllava": {"rope": override}}, **explicit)
    config = found.create_engine_config().model_config
    assert config.hf_config.text_config.rope_parameters["rope_type"] == scaling
    assert config.max_model_len == context


def test_a_wrong_override_is_one_line(arguments):
    from sfllava_plugin.engine.offline import Runner

    arguments()
    for changes, message in (
        ({"newline": "grid"}, "sfllava.newline: Input should be 'none', 'end', 'frames' or 'rows'"),
        (
            {"rope": "linear-0"},
            "unknown rope 'linear-0': use checkpoint or linear-FACTOR, as in linear-2, from 1 to 999",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            Runner("my-model", {"hf_overrides": {"sfllava": changes}})


def test_other_models_are_left_alone(arguments, tmp_path):
    """A path which is not a model directory stays as it is."""
    from sfllava_plugin.engine.aliases import resolve

    foreign = arguments(model=str(tmp_path))
    resolve(foreign)
    assert (foreign.model, foreign.max_model_len, foreign.served_model_name) == (str(tmp_path), None, None)


def test_llm_answers_by_name(arguments, bikes):
    """`LLM(model=NAME)` in Python, with the video in a chat message."""
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


def test_registration_is_idempotent():
    from vllm import EngineArgs

    from sfllava_plugin.engine import register

    before = EngineArgs.create_engine_config
    register()
    register()
    assert EngineArgs.create_engine_config is before
