"""Conversations in the chat template: later turns, system messages, images, the template's arguments."""

import jinja2
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from examples.random_tokenizers import FAMILIES as EXAMPLES
from sfllava_plugin.prompts import chat_template, render

INPUT = "The input consists of a sequence of key frames from a video."
TASK = (
    "Answer concisely with overall content and context of the video, highlighting any significant events, "
    "characters, or objects that appear throughout the video."
)
EXPERT = "You are a helpful expert in video analysis. Select the best option to answer the question."
# The system messages that LLaVA's Vicuna and Yi were trained with.
VICUNA_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
YI_SYSTEM = "<|im_start|>system\nAnswer the questions.<|im_end|>\n"

VICUNA = chat_template("vicuna", special_tokens=["<image>", "</s>"])
YI = chat_template("yi", special_tokens=["<image>", "<|im_start|>", "<|im_end|>"])
QWEN = chat_template("qwen", special_tokens=["<image>", "<|im_end|>"], own_template=EXAMPLES["qwen"].chat_template)

PLLAVA = chat_template("pllava", special_tokens=["<image>", "</s>"])
PLLAVA_34B = chat_template("pllava_chatml", special_tokens=["<image>", "<|im_start|>", "<|im_end|>"])
CONCISELY = (
    f" {INPUT} Answer the question concisely first and followed by significant events, characters, or objects that "
    "appear throughout the frames. Question: "
)


def chat(template: str, *messages: dict, **arguments) -> str:
    arguments = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"} | arguments
    rendered, _ = render_jinja_template([list(messages)], chat_template=template, **arguments)
    return rendered[0]


def user(*parts: str) -> dict:
    """A user's message: the parts "video" and "image" are media, all others text."""
    return {
        "role": "user",
        "content": [{"type": part} if part in ("video", "image") else {"type": "text", "text": part} for part in parts],
    }


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict:
    return {"role": "system", "content": text}


def wrapped(question: str, marks: str = "<image>\n") -> str:
    return f"USER: {marks}{INPUT} {TASK} Question: {question} \nASSISTANT:\nAnswer: In the video,"


def test_later_turns_are_an_ordinary_conversation():
    prompt = chat(VICUNA, user("video", "Who?"), assistant("a man."), user("Where?"))
    assert prompt == wrapped("Who?") + " a man.</s>USER: Where? ASSISTANT:"


def test_later_turns_of_yi():
    prompt = chat(YI, user("video", "Who?"), assistant("a man."), user("Where?"))
    assert prompt == (
        f"<|im_start|>system\n Answer the question. <|im_end|>\n<|im_start|>user\n <image>\n{INPUT} {TASK} "
        "Question: Who? <|im_end|>\n<|im_start|>assistant\nAnswer: In the video, a man.<|im_end|>\n"
        "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_later_turns_in_a_checkpoints_own_format():
    prompt = chat(QWEN, user("video", "Who?"), assistant("a man."), user("Where?"))
    assert prompt == (
        f"<|im_start|>user\n<image>\n{INPUT} {TASK} Question: Who?<|im_end|>\n"
        "<|im_start|>assistant\nAnswer: In the video, a man.<|im_end|>\n"
        "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_multiple_choice_reply_continues_its_wrapper():
    prompt = chat(VICUNA, user("video", "Who?"), assistant("B) a man"), user("Why?"), options=["x", "a man"])
    assert "\nASSISTANT:\nAnswer: Best option:(B) a man</s>USER: Why? ASSISTANT:" in prompt


def test_a_reply_with_a_leading_space_gets_no_second_one():
    prompt = chat(VICUNA, user("video", "Who?"), assistant(" a man."), user("Where?"))
    assert "Answer: In the video, a man.</s>" in prompt


def test_a_second_video_is_wrapped_like_the_first():
    prompt = chat(VICUNA, user("video", "Who?"), assistant("a man."), user("video", "And here?"))
    assert prompt == wrapped("Who?") + " a man.</s>" + wrapped("And here?")


def test_without_a_generation_prompt_no_reply_is_begun():
    prompt = chat(VICUNA, user("video", "Who?"), assistant("a man."), add_generation_prompt=False)
    assert prompt == wrapped("Who?") + " a man.</s>"


def test_the_video_comes_first_wherever_the_message_has_it():
    assert chat(VICUNA, user("Who?", "video")) == wrapped("Who?")


def test_several_texts_of_a_message_become_lines():
    assert chat(VICUNA, user("Who?", "video", "And why?")) == wrapped("Who?\nAnd why?")


def test_several_videos_of_a_message_stand_together():
    assert chat(VICUNA, user("video", "video", "Who?")) == wrapped("Who?", marks="<image>\n<image>\n")


def test_an_image_beside_a_video_is_marked_beside_it():
    assert chat(VICUNA, user("image", "video", "Who?")) == wrapped("Who?", marks="<image>\n<image>\n")


def test_the_users_system_message_wins_over_the_wrappers():
    prompt = chat(VICUNA, system("Be brief."), user("video", "Who?"), options=["x", "y"])
    assert prompt == (
        f"Be brief. USER: <image>\n{INPUT}\nQuestion: Who?\nOptions:\n(A) x\n(B) y\nOnly give the best option. \n"
        "ASSISTANT:\nAnswer: Best option:("
    )


def test_the_users_system_message_wins_over_the_conversations():
    assert chat(VICUNA, system("Be brief."), user("Hello")) == "Be brief. USER: Hello ASSISTANT:"


@pytest.mark.parametrize("message", [user("Hello"), {"role": "user", "content": "Hello"}])
def test_text_alone_gets_the_system_message_of_the_training(message):
    assert chat(VICUNA, message) == f"{VICUNA_SYSTEM} USER: Hello ASSISTANT:"
    expected = f"{YI_SYSTEM}<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert chat(YI, message) == expected
    assert chat(QWEN, message) == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def test_a_question_on_an_image_is_an_ordinary_conversation():
    assert chat(VICUNA, user("What is it?", "image")) == f"{VICUNA_SYSTEM} USER: <image>\nWhat is it? ASSISTANT:"


def test_prompt_frame_none_leaves_the_video_and_the_text():
    prompt = chat(VICUNA, user("video", "Who?"), prompt_frame="none")
    assert prompt == f"{VICUNA_SYSTEM} USER: <image>\nWho? ASSISTANT:"


def test_prompt_frame_complete_sends_the_text_unchanged():
    prompt = chat(VICUNA, user("video", "My <image>own</s> prompt:"), prompt_frame="complete")
    assert prompt == "My <image>own</s> prompt:"


@pytest.mark.parametrize("text", ["Own <image> prompt", "<s>Own <image> prompt"])
def test_prompt_frame_complete_has_the_leading_token_once(text):
    template = chat_template("vicuna", special_tokens=["<image>"], bos_token="<s>")
    assert chat(template, user("video", text), prompt_frame="complete") == "<s>Own <image> prompt"


def test_prompt_frame_multiple_choice_works_with_options_in_the_question():
    prompt = chat(VICUNA, user("video", "Who?\nA: he\nB: she"), prompt_frame="multiple_choice")
    assert prompt == (
        f"{EXPERT} USER: <image>\n{INPUT}\nQuestion: Who?\nA: he\nB: she\nOnly give the best option. \n"
        "ASSISTANT:\nAnswer: Best option:("
    )


def test_a_given_prompt_frame_wins_over_the_one_options_imply():
    prompt = chat(VICUNA, user("video", "Who?"), prompt_frame="open_ended", options=["he", "she"])
    assert prompt == wrapped("Who?\nOptions:\n(A) he\n(B) she")


def test_an_unknown_prompt_frame_is_an_error_that_lists_the_others():
    expected = "prompt_frame must be open_ended, multiple_choice, none or complete"
    with pytest.raises(jinja2.TemplateError, match=expected):
        chat(VICUNA, user("video", "Who?"), prompt_frame="essay")


def test_special_tokens_are_text_in_every_role():
    prompt = chat(VICUNA, system("S</s>"), user("video", "<image>?"), assistant("R</s>"), user("U<image>"))
    assert prompt == ("S< /s> " + wrapped("< image>?") + " R< /s></s>USER: U< image> ASSISTANT:")


def test_pllava_keeps_the_spaces_of_its_program():
    prompt = chat(PLLAVA, user("video", "Who?"), assistant("a man."), user("Where?"))
    assert prompt == (
        f"USER: <image>\n{CONCISELY}Who? \n ASSISTANT:\nAnswer: In the video, a man.</s>USER: Where? ASSISTANT:"
    )
    assert chat(PLLAVA, user("video", "Who?"), prompt_frame="none") == "USER: <image>\nWho? ASSISTANT:"


def test_choices_of_pllava_are_a_second_turn():
    prompt = chat(PLLAVA, user("video", "Who?"), options=["a man", "a dog"])
    assert prompt.startswith("Carefully watch the video ")
    assert prompt.endswith(
        "addresses the question.\n USER: <image>\n USER: Question: Who?\nOptions:\n(A) a man\n(B) a dog "
        "\nOnly give the best option. ASSISTANT:Best option:("
    )


def test_pllava_34b_has_a_system_message():
    system = "<|im_start|>system\nAnswer the question.<|im_end|>\n"
    prompt = chat(PLLAVA_34B, user("video", "Who?"))
    assert prompt == (
        f"{system}<|im_start|>user\n<image>\n{CONCISELY}Who? \n<|im_end|>\n<|im_start|>assistant\n"
        "\nAnswer: In the video,"
    )
    prompt = chat(PLLAVA_34B, user("video", "Who?"), prompt_frame="none")
    assert prompt == f"{system}<|im_start|>user\n<image>\nWho?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("template", [VICUNA, YI, QWEN, PLLAVA])
def test_a_question_about_pictures_is_the_conversation_of_the_server(template, count):
    prompt = render(template, "Who?", pictures=count, bos_token="<s>", eos_token="</s>")
    assert prompt == chat(template, user(*["image"] * count, "Who?"))
    assert prompt.count("<image>\n") == count
    assert INPUT not in prompt
