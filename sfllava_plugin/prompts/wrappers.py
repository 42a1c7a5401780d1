"""The paper's prompts: wrappers around a question, for each family of language models.

The published prompts are part of the method: without them EgoSchema loses three to four points (arXiv 2407.15841,
appendix). The paper calls them prompt frames.
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
    """A prompt, cut where the video, the question and the model's own chat format go.

    ``options`` follow the question directly; ``answer`` is the beginning of the reply that the model continues.
    """

    before_question: str
    answer: str
    system: str = ""
    before_video: str = ""
    after_question: str = ""


@dataclass(frozen=True)
class Family:
    """The two wrappers of one family of language models.

    ``template`` names the packaged conversation format of a family whose wrappers the paper published; the others have
    none and stand inside the checkpoint's own chat template. ``conversation`` is the system message such a model
    was trained with, used where no wrapper and no system message is.
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
