"""The splits on which the paper and its peers report figures, told by their size.

Test splits have the same columns: a figure of another split would stand beside the paper's unnoticed. All numbers are
those of the question files that IG-VLM published, which the others took over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sfllava_plugin.evaluation import exit_status

#: The exit status of `sfllava` for wrong input.
_WRONG_INPUT = 2


@dataclass(frozen=True)
class Split:
    """A split of a public release.

    Attributes:
        name: of the split, in words.
        rows: questions.
        videos: different videos, where that is known.
        first: the release's own number of the first question, where it numbers them.
    """

    name: str
    rows: int
    videos: int | None = None
    first: str | None = None


#: By task.
SPLITS = {
    "nextqa_mc_val": Split("the validation split of NExT-QA", 4996, 570),
    "intentqa_val": Split("the validation split of IntentQA", 2044, 524),
    "msvd_qa_val": Split("the validation split of MSVD-QA", 6415, 245, "30933"),
    "msrvtt_qa_val": Split("the validation split of MSRVTT-QA", 12_278, 497, "158581"),
    "tgif_frameqa": Split("the test split of TGIF-QA's FrameQA", 13_691),
}


class Rows(Protocol):
    """The part of a `datasets.Dataset` in use here."""

    def __len__(self) -> int: ...

    def __getitem__(self, column: str, /) -> Sequence[str]: ...


class SplitError(ValueError):
    """Questions that are not those of a task's split."""


def check(task: str, rows: Rows) -> None:
    """Refuse questions of another split.

    In lmms-eval's command it ends with one line and status 2.

    Args:
        task: a key of `SPLITS`.
        rows: its documents, with the columns ``id`` and ``video``.

    Raises:
        SplitError: naming what differs.
    """
    split = SPLITS[task]
    found = {"questions": len(rows), "videos": len(set(rows["video"])), "the first question's id": str(rows["id"][0])}
    wanted = {"questions": split.rows, "videos": split.videos, "the first question's id": split.first}
    for what, number in wanted.items():
        if number is not None and found[what] != number:
            difference = f"{what}: {found[what]} instead of {number}"
            exit_status.stop(
                SplitError(f"{task} needs {split.name} ({difference}): download its file again"), _WRONG_INPUT
            )
