"""The pages of the docs, and the commands in them that can run here.

``<!-- run -->`` above a block of ``sh`` says that it needs neither a GPU nor the hub; ``<!-- run: server -->`` that it
runs beside the blocks below it. A block of ``text`` that follows directly is its output.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(
    r"^<!-- run(?P<server>: server)? -->\n```sh\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


class Block(NamedTuple):
    """Commands, and what they print where the page says it."""

    code: str
    is_server: bool
    output: str | None


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that run here."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(block["code"], block["server"] is not None, block["output"]) for block in found]


def links(page: Path) -> list[tuple[Path, str]]:
    """The files that a page links to, each with the heading in it, or ""."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return [(page.parent / target if target else page, heading) for target, heading in _LINK.findall(text)]


def headings(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in found}
