"""sf-llava-tiny on held-out questions.

A fault in frames, pooling, prompts or caches shows as wrong answers.
"""

from collections import defaultdict

import pytest

from sfllava_plugin.shapes import clips
from sfllava_plugin.shapes.questions import FAST_ONLY
from sfllava_plugin.tokens.slowfast import SlowFast
from sfllava_plugin.video.decode import decode
from tests.engine.support import forget, model_of

#: Used neither for training nor for decisions about it.
SEEDS = range(20_000, 20_030)
#: A few points below the model card's figure for each kind: that is over hundreds of clips, this over a few dozen.
LEAST = 0.9
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up", "nowhere": "nowhere"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Clips and their video files."""
    folder = tmp_path_factory.mktemp("shapes")
    made = [clips.clip(seed) for seed in SEEDS]
    return [(clip, str(clips.write_clip(clip.scene, folder / f"{clip.scene.seed}.mp4"))) for clip in made]


@pytest.fixture
def replies(tiny):
    """replies([(video, question), ...]): the letter or text of each answer."""
    from sfllava_plugin.engine.offline import Question

    def ask(asked):
        questions = [Question(video, question.text, question.options, 24) for video, question in asked]
        found = dict(tiny.answers(questions))
        return [found[i].answer or found[i].text for i in range(len(questions))]

    return ask


def truth(question):
    return question.letter or question.answer


@pytest.mark.parametrize("part", ["open_ended", "multiple_choice"])
def test_held_out_questions_are_answered_correctly(replies, shown, part):
    asked = [(video, question) for clip, video in shown for question in getattr(clip, part)]
    assert len(asked) >= 100
    right = defaultdict(list)
    for (_, question), reply in zip(asked, replies(asked), strict=True):
        right[question.kind].append(reply == truth(question))
    shares = {kind: sum(found) / len(found) for kind, found in right.items()}
    assert min(shares.values()) >= LEAST, shares


def test_a_reversed_clip_reverses_the_answer(replies, shown, tmp_path):
    """The answer depends on the order of the frames."""
    from PIL import Image

    asked = []
    for clip, video in shown:
        for question in clip.open_ended:
            if question.kind == "direction" and question.answer != "nowhere":
                folder = tmp_path / f"{clip.scene.seed}"
                folder.mkdir(exist_ok=True)
                frames = decode(video, num_frames=clips.FRAMES, image_size=clips.SIDE).frames
                for number, frame in enumerate(frames[::-1]):
                    Image.fromarray(frame).save(folder / f"{number:03}.png")
                asked.append((str(folder), question))
    assert len(asked) >= 8
    turned = [reply == OPPOSITE[question.answer] for (_, question), reply in zip(asked, replies(asked), strict=True)]
    assert sum(turned) / len(turned) >= LEAST


def test_only_the_fast_pathway_sees_the_flash(tiny, replies, shown, monkeypatch):
    asked = [
        (video, question)
        for clip, video in shown
        for question in clip.open_ended
        if question.kind in FAST_ONLY and question.answer != "none"
    ]
    slow_tokens = 4 * 18

    tokens_of = SlowFast.tokens

    def without_fast(*args):
        tokens = tokens_of(*args)
        tokens[slow_tokens:] = 0
        return tokens

    def share():
        return sum(reply == q.answer for (_, q), reply in zip(asked, replies(asked), strict=True)) / len(asked)

    assert share() >= LEAST
    assert model_of(tiny).video_config.tokens(16) == slow_tokens + 16 * 4
    forget(tiny)
    monkeypatch.setattr(SlowFast, "tokens", without_fast)
    blind = share()
    forget(tiny)
    assert blind <= 1 / 6 + 0.15
