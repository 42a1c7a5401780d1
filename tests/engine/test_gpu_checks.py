"""Run the checks of tests/gpu on the CPU, so that they are known to work."""

import torch

from examples.random_checkpoint import REAL_GRID
from tests.engine.support import model_of
from tests.gpu import checks


def test_no_answer_is_wrong(tiny, tmp_path):
    assert checks.wrong_answers(tiny, tmp_path) == []


def test_a_wrong_answer_is_found(tiny, tmp_path, monkeypatch):
    answers = tiny.answers

    def swapped(questions):
        return answers([*questions[1::-1], *questions[2:]])

    monkeypatch.setattr(tiny, "answers", swapped)
    assert len(checks.wrong_answers(tiny, tmp_path)) == 2


def test_speed_is_a_share_of_a_bare_product(runners):
    speed = checks.tower_speed(model_of(runners()), REAL_GRID, "cpu", torch.float32, frames=10, repeats=2)
    assert 0 < speed < 2
