"""Requests of lmms-eval as questions, and replies as letters, by the method's own rules."""

from dataclasses import dataclass, field

import pytest

from sfllava_plugin.evaluation.requests import MAX_NEW_TOKENS, Translation
from sfllava_plugin.prompts import FAMILIES

DOC = {"question": "why is it", "answer": "B"} | {
    f"a{i}": text for i, text in enumerate(("bus", "bike", "dog", "x", "y"))
}
TASKS = {"nextqa_mc_val": {"validation": [DOC]}}


@dataclass
class Request:
    """The part of lmms-eval's `Instance` in use."""

    settings: dict
    args: tuple = field(init=False)

    def __post_init__(self):
        self.args = ("why is it\nA. bus", self.settings, lambda doc: ["a.mp4"], 0, "nextqa_mc_val", "validation")


@pytest.mark.parametrize(
    ("family", "prompt", "given", "task", "longest"),
    [
        ("vicuna", "paper", None, None, MAX_NEW_TOKENS),
        ("vicuna", "paper", None, 16, 16),
        ("vicuna", "paper", None, 4096, MAX_NEW_TOKENS),
        ("ig_vlm", "paper", None, 16, 512),
        ("ig_vlm", "task", None, 16, 16),
        ("pllava", "paper", None, None, 100),
        ("next_video", "paper", None, 128, 1024),
        ("ig_vlm", "paper", 7, 16, 7),
        ("vicuna", "paper", 300, 16, 300),
    ],
)
def test_the_longest_answer_is_the_users_or_the_methods_or_the_tasks(family, prompt, given, task, longest):
    translation = Translation(prompt, given, FAMILIES[family])
    asked = translation.question(Request({"max_new_tokens": task} if task else {}), TASKS)
    assert asked.max_tokens == longest
    assert asked.options == (("bus", "bike", "dog", "x", "y") if prompt == "paper" else ())


@pytest.mark.parametrize(
    ("family", "prompt", "letter"),
    [("vicuna", "paper", "B"), ("ig_vlm", "paper", "A"), ("ig_vlm", "task", "B")],
)
def test_a_reply_is_read_by_the_methods_rules(family, prompt, letter):
    """IG-VLM reads a first capital letter, a person does not."""
    translation = Translation(prompt, None, FAMILIES[family])
    assert translation.reply(Request({}), TASKS, "A man on a bike") == letter
