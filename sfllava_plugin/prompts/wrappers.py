"""Wrappers around a question, for each family of language models: the paper's, PLLaVA's, and those of other models.

The paper's are part of the method: without them EgoSchema drops by three to four points (arXiv 2407.15841, appendix).
It calls them prompt frames. They descend from PLLaVA's. Other models trained on videos get the conversation they were
trained with, and no wrapper.
"""

from dataclasses import dataclass, replace

_EXPERT = "You are a helpful expert in video analysis. Select the best option to answer the question."
_INPUT = "The input consists of a sequence of key frames from a video."
_TASK = (
    "Answer concisely with overall content and context of the video, highlighting any significant events, "
    "characters, or objects that appear throughout the video."
)
_OPEN_ENDED = f"{_INPUT} {_TASK} Question: "
_OPEN_ENDED_ANSWER = "Answer: In the video,"
_BEST = "\nOnly give the best option."
_BEST_ANSWER = "Answer: Best option:("


@dataclass(frozen=True)
class Wrapper:
    """The pieces of a prompt around the video, the question and the turns of the chat format.

    Attributes:
        before_question: follows the video.
        answer: the start of the reply, which the model continues.
        system: the system message.
        before_video: begins the user's message.
        after_question: follows the question and its options.
        question_mark: whether the wrapper has the question mark; the question's own is then left out.
        before_options: follows the question, if there are options.
        option: an option, with its {letter} and {text}.
        fifth_option: the fifth one, if the method writes it differently.
    """

    before_question: str
    answer: str
    system: str = ""
    before_video: str = ""
    after_question: str = ""
    question_mark: bool = False
    before_options: str = "\nOptions:"
    option: str = "\n({letter}) {text}"
    fifth_option: str = ""


@dataclass(frozen=True)
class Family:
    """The two wrappers of one family of language models.

    Attributes:
        open_ended, multiple_choice: the wrappers.
        template: the packaged conversation format, for families whose prompts the paper published. None: the
            checkpoint's own chat template.
        conversation: the system message the model was trained with, for conversations that have neither a wrapper nor
            a system message.
        max_tokens: the longest answer in the method's evaluation; None is that of SlowFast-LLaVA's.
        reading: the way a reply becomes a letter (readings.py).
    """

    open_ended: Wrapper
    multiple_choice: Wrapper
    template: str | None = None
    conversation: str = ""
    max_tokens: int | None = None
    reading: str = "free"


_GENERIC = Family(
    open_ended=Wrapper(_OPEN_ENDED, _OPEN_ENDED_ANSWER),
    multiple_choice=Wrapper(f"{_INPUT}\nQuestion: ", _BEST_ANSWER, system=_EXPERT, after_question=_BEST),
)

#: After the options, in the training data of LLaVA-1.5 and all that followed.
_LETTER = "\nAnswer with the option's letter from the given choices directly."


def _trained(system: str, template: str) -> Family:
    """A conversation of LLaVA-NeXT's conversation.py, as its video models were trained."""
    return Family(
        open_ended=Wrapper("", "", system=system),
        multiple_choice=Wrapper("", "", system=system, after_question=_LETTER),
        template=template,
        conversation=system,
    )


_CURIOUS = (
    "A chat between a curious {0} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {0}'s questions."
)
#: The word in llava-hf's templates of Vicuna, and the one its training data had (conversation.py's vicuna_v1).
_HUMAN, _USER = _CURIOUS.format("human"), _CURIOUS.format("user")

#: The wording of PLLaVA's evaluation: open-ended questions, and MVBench's sentence before choices (arXiv 2311.17005).
_CONCISELY = (
    f"{_INPUT} Answer the question concisely first and followed by significant events, characters, or objects that "
    "appear throughout the frames. Question: "
)
_WATCH = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of "
    "objects, and the action and pose of persons. Based on your observations, select the best option that accurately "
    "addresses the question.\n"
)


def _pllava(template: str, system: str = "", turn: str = "") -> Family:
    """PLLaVA's conversation, whose spaces and line breaks are its program's.

    Args:
        system: of open-ended questions.
        turn: the beginning of the second user turn which choices get, after one with the video alone.
    """
    return Family(
        open_ended=Wrapper(f" {_CONCISELY}", f"\n{_OPEN_ENDED_ANSWER}", system=system, after_question=" \n"),
        multiple_choice=Wrapper(f"{turn}Question: ", "Best option:(", system=_WATCH, after_question=f" {_BEST}"),
        template=template,
        conversation=system,
        max_tokens=100,
    )


_VICUNA, _YI = (
    Family(
        open_ended=Wrapper(_OPEN_ENDED, f"\n{_OPEN_ENDED_ANSWER}", after_question=" \n"),
        multiple_choice=Wrapper(
            f"{_INPUT}\nQuestion: ",
            f"\n{_BEST_ANSWER}",
            system=_EXPERT,
            after_question=f"{_BEST} \n",
        ),
        template="vicuna.jinja",
        conversation=_HUMAN,
    ),
    Family(
        open_ended=Wrapper(
            _OPEN_ENDED,
            _OPEN_ENDED_ANSWER,
            system=" Answer the question. ",
            before_video=" ",
            after_question=" ",
        ),
        multiple_choice=Wrapper(
            f"{_INPUT} Question: ",
            _BEST_ANSWER,
            system=f" {_EXPERT} ",
            before_video=" ",
            after_question=f"{_BEST} ",
        ),
        template="yi.jinja",
        conversation="Answer the questions.",
    ),
)

#: LLaVA-NeXT's April evaluation of videos sampled at a temperature of 0.2; here and later it is greedy. It published no
#: choices: these have the wrapper of SlowFast-LLaVA, so that tokens alone differ.
_NEXT_TOKENS = 1024

_GRID = "The provided image arranges keyframes from a video in a grid view."
_GRID_TASK = _TASK.removesuffix("video.") + "frames."
_CORRECT = "Select correct option to answer the question."
_FROM_OPTIONS = "Select the correct answer from the options"


def _ig_vlm(choice: Wrapper, template: str = "vicuna.jinja") -> Family:
    """IG-VLM's prompts; those of 34B have other spaces and line breaks (arXiv 2403.18406 and its program)."""
    chatml = template == "yi.jinja"
    return Family(
        open_ended=Wrapper(
            f"{_GRID} {_GRID_TASK} Question: ",
            _OPEN_ENDED_ANSWER if chatml else f"\n{_OPEN_ENDED_ANSWER}",
            system=" Answer the question. " if chatml else "",
            before_video=" " if chatml else "",
            after_question=" " if chatml else " \n",
            question_mark=True,
        ),
        multiple_choice=replace(choice, option=" {letter}:{text}."),
        template=template,
        conversation=_YI.conversation if chatml else _HUMAN,
        max_tokens=512,
        reading="ig_vlm",
    )


FAMILIES = {
    "vicuna": _VICUNA,
    "yi": _YI,
    "mistral": _GENERIC,
    "llama3": _GENERIC,
    "qwen": _GENERIC,
    "vicuna_v1": _trained(_USER, "vicuna.jinja"),
    "chatml": _trained("Answer the questions.", "yi.jinja"),
    "qwen_1_5": _trained("You are a helpful assistant.", "yi.jinja"),
    "next_video": replace(
        _trained(_USER, "vicuna.jinja"), multiple_choice=_VICUNA.multiple_choice, max_tokens=_NEXT_TOKENS
    ),
    "next_video_chatml": replace(
        _trained("Answer the questions.", "yi.jinja"), multiple_choice=_YI.multiple_choice, max_tokens=_NEXT_TOKENS
    ),
    "pllava": _pllava("pllava.jinja", turn=" USER: "),
    # Here the program's prompt for choices is no well-formed conversation; this one has the same words in one turn.
    "pllava_chatml": _pllava("yi.jinja", system="Answer the question."),
    "ig_vlm": _ig_vlm(
        Wrapper(
            f"{_GRID} Question: ",
            "\nAnswer:",
            system=_CORRECT,
            after_question=f" \n{_FROM_OPTIONS}. \n",
            before_options="",
        )
    ),
    "ig_vlm_13b": _ig_vlm(
        Wrapper(
            f"{_GRID} Question: ",
            " \nAnswer:",
            after_question=f" \n {_FROM_OPTIONS}(A,B,C,D,E). \n",
            question_mark=True,
            before_options="\n",
        )
    ),
    "ig_vlm_34b": _ig_vlm(
        Wrapper(
            " Question: ",
            "Answer:",
            system=f" {_CORRECT}",
            before_video=" ",
            after_question=f" {_FROM_OPTIONS}. ",
            question_mark=True,
            before_options="",
            fifth_option=" {letter}: {text}.",
        ),
        "yi.jinja",
    ),
}
