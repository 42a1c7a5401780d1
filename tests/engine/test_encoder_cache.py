"""The encoder cache holds as many videos as the operator says, and vLLM measures its memory."""

import json

import pytest

from sfllava_plugin.engine.offline.questions import Question
from sfllava_plugin.limits import DEFAULTS
from tests.engine.support import forget


def config_of(runner):
    return runner.engine.llm_engine.vllm_config


def worker_of(runner):
    return runner.engine.llm_engine.model_executor.driver_worker.worker.model_runner


def scheduler_of(runner):
    return runner.engine.llm_engine.engine_core.engine_core.scheduler


def test_it_holds_as_many_videos_as_the_limits_say(runners):
    size = DEFAULTS.cached_videos * 3680
    assert config_of(runners()).scheduler_config.encoder_cache_size == size
    assert scheduler_of(runners()).encoder_cache_manager.cache_size == size


def test_an_operator_chooses_how_many(runners, tmp_path, monkeypatch):
    registry = tmp_path / "registry.yaml"
    registry.write_text(json.dumps({"limits": {"cached_videos": 5}}))
    monkeypatch.setenv("SFLLAVA_REGISTRY", str(registry))
    runner = runners(max_num_seqs=7)
    assert scheduler_of(runner).encoder_cache_manager.cache_size == 5 * 3680
    # One to spare.
    assert runner._bounds.embeddings == 4


@pytest.fixture
def measuring(runners, monkeypatch):
    """An engine as it is before it has a KV cache."""
    runner = runners()
    forget(runner)
    with monkeypatch.context() as patch:
        patch.setattr(config_of(runner).cache_config, "num_gpu_blocks", None)
        yield runner
    # The worker has emptied its cache, and the scheduler does not know.
    forget(runner)


def kept_bytes(worker):
    storages = {id(storage): storage for storage in (e.untyped_storage() for e in worker.encoder_cache.values())}
    return sum(storage.nbytes() for storage in storages.values())


def test_memory_is_measured_with_a_full_cache(measuring, monkeypatch):
    worker = worker_of(measuring)
    measured, real = [], worker._dummy_run

    def dummy_run(*args, **kwargs):
        measured.append(kept_bytes(worker))
        return real(*args, **kwargs)

    monkeypatch.setattr(worker, "_dummy_run", dummy_run)
    worker.profile_run()
    width, float32 = 128, 4
    assert measured == [config_of(measuring).scheduler_config.encoder_cache_size * width * float32]


def test_a_video_keeps_its_own_embeddings_alone(runners, bikes):
    """An engine that did not measure, as one on a CPU, must not take the whole cache with its first video."""
    runner = runners()
    forget(runner)
    runner.answer(Question(str(bikes), "What?", max_tokens=1))
    width, float32 = 128, 4
    assert kept_bytes(worker_of(runner)) == 3680 * width * float32
