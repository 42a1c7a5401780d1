"""The paper's prompts: wrappers around a question, for each family of language models.

They are part of the method: without them EgoSchema drops by three to four points (arXiv 2407.15841, appendix). The
paper calls them prompt frames.
"""

from dataclasses import dataclass

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
    """

    before_question: str
    answer: str
    system: str = ""
    before_video: str = ""
    after_question: str = ""


@dataclass(frozen=True)
class Family:
    """The two wrappers of one family of language models.

    Attributes:
        open_ended, multiple_choice: the wrappers.
        template: the packaged conversation format, for families whose prompts the paper published. None: the
            checkpoint's own chat template.
        conversation: the system message the model was trained with, for conversations that have neither a wrapper nor
            a system message.
    """

    open_ended: Wrapper
    multiple_choice: Wrapper
    template: str | None = None
    conversation: str = ""


_GENERIC = Family(
    open_ended=Wrapper(_OPEN_ENDED, _OPEN_ENDED_ANSWER),
    multiple_choice=Wrapper(f"{_INPUT}\nQuestion: ", _BEST_ANSWER, system=_EXPERT, after_question=_BEST),
)

FAMILIES = {
    "vicuna": Family(
        open_ended=Wrapper(_OPEN_ENDED, f"\n{_OPEN_ENDED_ANSWER}", after_question=" \n"),
        multiple_choice=Wrapper(
            f"{_INPUT}\nQuestion: ",
            f"\n{_BEST_ANSWER}",
            system=_EXPERT,
            after_question=f"{_BEST} \n",
        ),
        template="vicuna.jinja",
        conversation=(
            "A chat between a curious human and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the human's questions."
        ),
    ),
    "yi": Family(
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
    "mistral": _GENERIC,
    "llama3": _GENERIC,
    "qwen": _GENERIC,
}
