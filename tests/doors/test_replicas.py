"""Replicas die on a Ray cluster; every question is answered once.

No engine is started.
"""

import os
from functools import partial

import pytest

from sfllava_plugin.batch.files import Row
from sfllava_plugin.engine.offline import replicas

ROWS = [Row(id=number, video=f"{number % 7}.mp4", question="?") for number in range(50)]


@pytest.fixture(scope="module")
def ray():
    import ray

    ray.init(address="local", num_cpus=4, log_to_driver=False, logging_level="error", include_dashboard=False)
    yield ray
    ray.shutdown()


class Replica:
    """Answers with its process id.

    It dies at its second video, once for each file in ``deaths``.
    """

    def __init__(self, deaths):
        self._deaths = deaths

    def answer(self, queue):
        for number, rows in enumerate(replicas._drain(queue)):
            left = sorted(self._deaths.iterdir())
            if number and left:
                left[0].unlink()
                os._exit(1)
            yield [{"id": row.id, "text": str(os.getpid())} for row in rows]


class Broken:
    def answer(self, queue):
        raise ValueError("unknown engine argument 'x'")
        yield


class Dead:
    def answer(self, queue):
        os._exit(1)
        yield


@pytest.mark.parametrize("count", [1, 3])
def test_a_dead_replicas_questions_are_asked_again(ray, tmp_path, count):
    for death in range(2):
        (tmp_path / str(death)).touch()
    start = partial(ray.remote(Replica).options(num_cpus=0).remote, tmp_path)
    answers = list(replicas._answer_in_rounds(ray, ROWS, start, count))
    assert not list(tmp_path.iterdir())
    assert sorted(answer["id"] for answer in answers) == [row.id for row in ROWS]
    assert len({answer["text"] for answer in answers}) > 1


def test_an_engines_error_is_passed_on_unchanged(ray):
    with pytest.raises(ValueError, match=r"^unknown engine argument 'x'$"):
        list(replicas._answer_in_rounds(ray, ROWS, ray.remote(Broken).options(num_cpus=0).remote, 1))


def test_replicas_that_keep_dying_are_an_error(ray, tmp_path):
    with pytest.raises(ValueError, match="every replica on the Ray cluster died"):
        list(replicas._answer_in_rounds(ray, ROWS, ray.remote(Dead).options(num_cpus=0).remote, 2))
