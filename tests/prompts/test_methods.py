"""The prompts of the methods beside SlowFast-LLaVA, typed from their papers and programs, to the byte."""

import pytest

from sfllava_plugin.prompts import FAMILIES, chat_template, render
from sfllava_plugin.prompts.readings import READINGS
from sfllava_plugin.registry import packaged

OPTIONS = ["a bus", "two bikes", "a dog", "rain", "nothing"]
_GRID = (
    "The provided image arranges keyframes from a video in a grid view. Answer concisely with overall content and "
    "context of the video, highlighting any significant events, characters, or objects that appear throughout the "
    "frames."
)
_KEYS = "The input consists of a sequence of key frames from a video."
_PAPER_CHOICE = (
    "You are a helpful expert in video analysis. Select the best option to answer the question. USER: <image>\n"
    f"{_KEYS}\nQuestion: why is it?\nOptions:\n(A) a bus\n(B) two bikes\n(C) a dog\n(D) rain\n(E) nothing\n"
    "Only give the best option. \nASSISTANT:\nAnswer: Best option:("
)
_PAPER_CHOICE_34B = (
    "<|im_start|>system\n You are a helpful expert in video analysis. Select the best option to answer the question. "
    f"<|im_end|>\n<|im_start|>user\n <image>\n{_KEYS} Question: why is it?\nOptions:\n(A) a bus\n(B) two bikes\n"
    "(C) a dog\n(D) rain\n(E) nothing\nOnly give the best option. <|im_end|>\n<|im_start|>assistant\n"
    "Answer: Best option:("
)
_CURIOUS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. "
)
_PLLAVA = (
    f" {_KEYS} Answer the question concisely first and followed by significant events, characters, or objects that "
    "appear throughout the frames. Question: why is it?"
)
_IG_OPEN = f"USER: <image>\n{_GRID} Question: why is it? \nASSISTANT:\nAnswer: In the video,"

#: By packaged name: the prompt of an open-ended question and of a choice; None where nothing was published.
PROMPTS = {
    "ig-vlm-7b": (
        _IG_OPEN,
        "Select correct option to answer the question. USER: <image>\nThe provided image arranges keyframes from a "
        "video in a grid view. Question: why is it? A:a bus. B:two bikes. C:a dog. D:rain. E:nothing. \n"
        "Select the correct answer from the options. \nASSISTANT:\nAnswer:",
    ),
    "ig-vlm-13b": (
        _IG_OPEN,
        "USER: <image>\nThe provided image arranges keyframes from a video in a grid view. Question: why is it?\n"
        " A:a bus. B:two bikes. C:a dog. D:rain. E:nothing. \n Select the correct answer from the "
        "options(A,B,C,D,E). \nASSISTANT: \nAnswer:",
    ),
    "ig-vlm-34b": (
        "<|im_start|>system\n Answer the question. <|im_end|>\n<|im_start|>user\n <image>\n"
        f"{_GRID} Question: why is it? <|im_end|>\n<|im_start|>assistant\nAnswer: In the video,",
        "<|im_start|>system\n Select correct option to answer the question.<|im_end|>\n<|im_start|>user\n <image>\n"
        " Question: why is it? A:a bus. B:two bikes. C:a dog. D:rain. E: nothing. Select the correct answer from the "
        "options. <|im_end|>\n<|im_start|>assistant\nAnswer:",
    ),
    "llava-next-image-7b": (f"{_CURIOUS}USER: <image>\nwhy is it? ASSISTANT:", _PAPER_CHOICE),
    "llava-next-image-34b": (
        "<|im_start|>system\nAnswer the questions.<|im_end|>\n<|im_start|>user\n<image>\nwhy is it?<|im_end|>\n"
        "<|im_start|>assistant\n",
        _PAPER_CHOICE_34B,
    ),
    "freeva-7b": (f"{_CURIOUS}USER: <image>\nwhy is it? ASSISTANT:", None),
    "pllava-7b": (f"USER: <image>\n{_PLLAVA} \n ASSISTANT:\nAnswer: In the video,", None),
    "pllava-34b": (
        "<|im_start|>system\nAnswer the question.<|im_end|>\n<|im_start|>user\n<image>\n"
        f"{_PLLAVA} \n<|im_end|>\n<|im_start|>assistant\n\nAnswer: In the video,",
        None,
    ),
}
PROMPTS |= {
    f"llava-next-video-{size}": PROMPTS[f"llava-next-image-{size[:3].rstrip('-')}"]
    for size in ("7b", "7b-dpo", "34b", "34b-dpo")
}
#: The families of checkpoints that choose the prompts of their names themselves.
CHOSEN = {"pllava-7b": "pllava", "pllava-34b": "pllava_chatml"}


def family_of(name: str) -> str:
    return packaged().get(name).prompts or CHOSEN[name]


def rendered(name: str, question: str, options=()) -> str:
    template = chat_template(family_of(name), special_tokens=["<image>", "</s>", "<|im_end|>"])
    return render(template, question, options)


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_is_the_published_one_to_the_byte(name):
    open_ended, choice = PROMPTS[name]
    assert rendered(name, "why is it?") == open_ended
    if choice is not None:
        assert rendered(name, "why is it?", OPTIONS) == choice


@pytest.mark.parametrize(("ts", "sf"), [("ts-llava-7b", "sf-llava-7b"), ("ts-llava-34b", "sf-llava-34b")])
def test_ts_llava_has_the_prompts_of_slowfast_llava(ts, sf):
    assert family_of(ts) == family_of(sf)


@pytest.mark.parametrize("question", ["why is it", "why is it ?", "why is it??"])
def test_ig_vlm_writes_one_question_mark(question):
    for name in ("ig-vlm-7b", "ig-vlm-13b", "ig-vlm-34b"):
        assert rendered(name, question) == PROMPTS[name][0]
    for name in ("ig-vlm-13b", "ig-vlm-34b"):
        assert rendered(name, question, OPTIONS) == PROMPTS[name][1]
    # The choices of 7B have the question as it is.
    assert f" Question: {question} A:a bus." in rendered("ig-vlm-7b", question, OPTIONS)


def test_an_option_is_no_template():
    prompt = rendered("ig-vlm-7b", "Q", ["{letter}", "{text}", "{{ 1 }}", "<image>"])
    assert " A:{letter}. B:{text}. C:{{ 1 }}. D:< image>. \n" in prompt


def test_a_second_turn_repeats_the_first_prompt():
    from transformers.utils.chat_template_utils import render_jinja_template

    for name in ("ig-vlm-7b", "ig-vlm-34b", "llava-next-image-7b"):
        template = chat_template(family_of(name), special_tokens=["<image>", "</s>"])
        video = [{"type": "video"}, {"type": "text", "text": "why is it?"}]
        turns = [{"role": "user", "content": video}, {"role": "assistant", "content": "A"}]
        turns += [{"role": "user", "content": "Sure?"}]
        [[text], _] = render_jinja_template([turns], chat_template=template, add_generation_prompt=True, eos_token="")
        assert text.startswith(PROMPTS[name][0])


@pytest.mark.parametrize(
    ("name", "longest"),
    [
        ("sf-llava-7b", None),
        ("ts-llava-7b", None),
        ("freeva-7b", None),
        ("ig-vlm-7b", 512),
        ("ig-vlm-34b", 512),
        ("llava-next-image-7b", 1024),
        ("llava-next-video-34b-dpo", 1024),
        ("pllava-34b", 100),
    ],
)
def test_an_answer_is_as_long_as_in_the_methods_evaluation(name, longest):
    assert FAMILIES[family_of(name)].max_tokens == longest


#: Replies, and how IG-VLM's evaluation reads them.
REPLIES = [
    ("B", "B"),
    ("B: two bikes.", "B"),
    (" C) a dog", "C"),
    ("A man rides", "A"),
    ("The answer is D", "D"),
    ("I think that the answer is E.", "E"),
    ("It says C: a dog, not B: two bikes", "B"),
    ("It may be D) rain", "D"),
    ("F", None),
    ("two bikes", None),
    ("the answer is bikes", None),
    ("", None),
]


@pytest.mark.parametrize(("reply", "letter"), REPLIES)
def test_a_reply_is_read_as_in_ig_vlms_evaluation(reply, letter):
    assert READINGS["ig_vlm"](reply, OPTIONS) == letter
    assert FAMILIES["ig_vlm"].reading == FAMILIES["ig_vlm_13b"].reading == FAMILIES["ig_vlm_34b"].reading == "ig_vlm"


def test_only_offered_letters_are_read():
    assert READINGS["ig_vlm"]("C", OPTIONS[:2]) is None
    assert READINGS["ig_vlm"]("the answer is C", OPTIONS[:2]) is None
    assert READINGS["ig_vlm"]("A", ()) is None


def test_every_family_reads_in_a_known_way():
    assert {family.reading for family in FAMILIES.values()} <= set(READINGS)
    assert all(family.reading == "free" for name, family in FAMILIES.items() if not name.startswith("ig_vlm"))
