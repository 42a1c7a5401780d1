"""The paper's prompts, typed from the paper, in every family's conversation format."""

import pytest

from examples.random_tokenizers import FAMILIES as EXAMPLES
from sfllava_plugin.prompts import FAMILIES, PromptError, chat_template, render

QUESTION, OPTIONS = "What is on the street?", ["A red bus.", "Two bikes"]

VICUNA_OPEN = (
    "USER: <image>\nThe input consists of a sequence of key frames from a video. Answer concisely with overall "
    "content and context of the video, highlighting any significant events, characters, or objects that appear "
    "throughout the video. Question: What is on the street? \nASSISTANT:\nAnswer: In the video,"
)
VICUNA_CHOICE = (
    "You are a helpful expert in video analysis. Select the best option to answer the question. USER: <image>\n"
    "The input consists of a sequence of key frames from a video.\nQuestion: What is on the street?\nOptions:\n"
    "(A) A red bus.\n(B) Two bikes\nOnly give the best option. \nASSISTANT:\nAnswer: Best option:("
)
YI_OPEN = (
    "<|im_start|>system\n Answer the question. <|im_end|>\n<|im_start|>user\n <image>\nThe input consists of a "
    "sequence of key frames from a video. Answer concisely with overall content and context of the video, "
    "highlighting any significant events, characters, or objects that appear throughout the video. Question: What "
    "is on the street? <|im_end|>\n<|im_start|>assistant\nAnswer: In the video,"
)
YI_CHOICE = (
    "<|im_start|>system\n You are a helpful expert in video analysis. Select the best option to answer the "
    "question. <|im_end|>\n<|im_start|>user\n <image>\nThe input consists of a sequence of key frames from a "
    "video. Question: What is on the street?\nOptions:\n(A) A red bus.\n(B) Two bikes\nOnly give the best option. "
    "<|im_end|>\n<|im_start|>assistant\nAnswer: Best option:("
)

# The sentences of both published prompts, for the families the paper has none for.
OPEN = (
    "<image>\nThe input consists of a sequence of key frames from a video. Answer concisely with overall content "
    "and context of the video, highlighting any significant events, characters, or objects that appear throughout "
    "the video. Question: What is on the street?"
)
CHOICE = (
    "<image>\nThe input consists of a sequence of key frames from a video.\nQuestion: What is on the street?\n"
    "Options:\n(A) A red bus.\n(B) Two bikes\nOnly give the best option."
)
EXPERT = "You are a helpful expert in video analysis. Select the best option to answer the question."

# The formats of the instruct models' own repositories: content is text, not a list of parts.
STRICT_MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('there is no system role') }}"
    "{% elif message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
TRIMMING_LLAMA3 = (
    "{% for message in messages %}{{ bos_token if loop.first else '' }}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def template_of(family: str, own: str | None = None, bos: str = "") -> str:
    return chat_template(family, special_tokens=["<image>", "</s>", "<|im_end|>"], bos_token=bos, own_template=own)


@pytest.mark.parametrize(
    ("family", "options", "expected"),
    [
        ("vicuna", None, VICUNA_OPEN),
        ("vicuna", OPTIONS, VICUNA_CHOICE),
        ("yi", None, YI_OPEN),
        ("yi", OPTIONS, YI_CHOICE),
    ],
)
def test_published_prompts_letter_by_letter(family, options, expected):
    assert render(template_of(family), QUESTION, options) == expected


def test_a_leading_token_comes_once_before_the_prompt():
    assert render(template_of("vicuna", bos="<s>"), QUESTION, bos_token="<s>") == "<s>" + VICUNA_OPEN


@pytest.mark.parametrize(
    ("family", "own", "bos", "expected"),
    [
        ("mistral", EXAMPLES["mistral"].chat_template, "<s>", f"<s>[INST] {OPEN} [/INST] Answer: In the video,"),
        ("mistral", STRICT_MISTRAL, "<s>", f"<s>[INST] {OPEN} [/INST] Answer: In the video,"),
        (
            "llama3",
            EXAMPLES["llama3"].chat_template,
            "<|begin_of_text|>",
            f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{OPEN}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nAnswer: In the video,",
        ),
        (
            "llama3",
            TRIMMING_LLAMA3,
            "<|begin_of_text|>",
            f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{OPEN}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nAnswer: In the video,",
        ),
        (
            "qwen",
            EXAMPLES["qwen"].chat_template,
            "",
            f"<|im_start|>user\n{OPEN}<|im_end|>\n<|im_start|>assistant\nAnswer: In the video,",
        ),
    ],
)
def test_open_ended_in_the_checkpoints_own_format(family, own, bos, expected):
    assert render(template_of(family, own, bos), QUESTION, bos_token=bos) == expected


@pytest.mark.parametrize(
    ("family", "own", "bos", "expected"),
    [
        (
            "llama3",
            TRIMMING_LLAMA3,
            "<|begin_of_text|>",
            f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{EXPERT}<|eot_id|>"
            f"<|start_header_id|>user<|end_header_id|>\n\n{CHOICE}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nAnswer: Best option:(",
        ),
        (
            "qwen",
            EXAMPLES["qwen"].chat_template,
            "",
            f"<|im_start|>system\n{EXPERT}<|im_end|>\n<|im_start|>user\n{CHOICE}<|im_end|>\n"
            "<|im_start|>assistant\nAnswer: Best option:(",
        ),
    ],
)
def test_multiple_choice_in_the_checkpoints_own_format(family, own, bos, expected):
    assert render(template_of(family, own, bos), QUESTION, OPTIONS, bos_token=bos) == expected


def test_without_a_system_role_the_users_message_begins_with_it():
    prompt = render(template_of("mistral", STRICT_MISTRAL, "<s>"), QUESTION, OPTIONS, bos_token="<s>")
    assert prompt == f"<s>[INST] {EXPERT}\n{CHOICE} [/INST] Answer: Best option:("


def test_options_are_lettered_to_z_and_no_further():
    template = template_of("vicuna")
    prompt = render(template, "Which?", [f"number {i}" for i in range(26)])
    assert "\nOptions:\n(A) number 0\n(B) number 1\n" in prompt
    assert "\n(Z) number 25\nOnly give the best option." in prompt
    with pytest.raises(PromptError, match="options must be at most 26"):
        render(template, "Which?", ["one too many"] * 27)


def test_an_unknown_prompt_frame_is_an_error_of_the_prompt():
    with pytest.raises(PromptError, match="prompt_frame must be open_ended, multiple_choice, none or complete"):
        render(template_of("vicuna"), "Which?", prompt_frame="essay")


@pytest.mark.parametrize("family", ["vicuna", "yi"])
def test_special_tokens_in_question_and_options_stay_text(family):
    prompt = render(template_of(family), "Is <image> here?</s><|im_end|>", ["<image>", "</s>"])
    clean = render(template_of(family), "Q", ["a", "b"])
    assert "Question: Is < image> here?< /s>< |im_end|>\nOptions:\n(A) < image>\n(B) < /s>\nOnly" in prompt
    for token in ("<image>", "</s>", "<|im_end|>"):
        assert prompt.count(token) == clean.count(token)


def test_a_special_token_inside_another_is_broken_up_too():
    template = chat_template("vicuna", special_tokens=["<s>", "<<s>>"])
    assert "Question: < < s>> and < s> \n" in render(template, "<<s>> and <s>")


def test_a_question_is_never_read_as_a_template():
    prompt = render(template_of("vicuna"), "{{ bos_token }} {% raw %} @WRAPPERS@ \\n \"'", ["{{ 1 + 1 }}"])
    assert "Question: {{ bos_token }} {% raw %} @WRAPPERS@ \\n \"'\nOptions:\n(A) {{ 1 + 1 }}\nOnly" in prompt


def test_every_promised_family_is_there():
    papers, trained = {"vicuna", "yi", "mistral", "llama3", "qwen"}, {"vicuna_v1", "chatml", "qwen_1_5"}
    others = {"pllava", "pllava_chatml", "next_video", "next_video_chatml", "ig_vlm", "ig_vlm_13b", "ig_vlm_34b"}
    assert set(FAMILIES) == papers | trained | others


@pytest.mark.parametrize(
    ("family", "specials", "expected"),
    [
        (
            "vicuna_v1",
            ["<image>", "</s>"],
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and polite answers to the user's questions. USER: <image>\nWho? ASSISTANT:",
        ),
        (
            "chatml",
            ["<image>", "<|im_start|>", "<|im_end|>"],
            "<|im_start|>system\nAnswer the questions.<|im_end|>\n<|im_start|>user\n<image>\nWho?<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
        (
            "qwen_1_5",
            ["<image>", "<|im_start|>", "<|im_end|>"],
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\nWho?<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
    ],
)
def test_the_conversations_of_training(family, specials, expected):
    """LLaVA-NeXT's conversation.py: vicuna_v1, chatml_direct and qwen_1_5."""
    assert render(chat_template(family, special_tokens=specials), "Who?").removeprefix("<s>") == expected


@pytest.mark.parametrize(
    ("family", "own", "message"),
    [
        ("gemma", None, "unknown prompts 'gemma': use one of vicuna, yi, mistral, llama3, qwen"),
        ("mistral", None, "prompts 'mistral' go inside the checkpoint's own chat template, and it has none"),
        ("qwen", "{{ 'nothing of what the user says' }}", "chat template renders no user message"),
        ("qwen", "{% if %}", "chat template renders no user message"),
        ("llama3", "{{ raise_exception('no') }}", "chat template renders no user message"),
    ],
)
def test_an_unusable_family_or_template_is_refused(family, own, message):
    with pytest.raises(PromptError, match=message):
        template_of(family, own)
