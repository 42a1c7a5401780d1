"""Adapt pages for the site: the README on the first page, no links to files outside docs/.

A hook of MkDocs (mkdocs.yml). As files, pages link to the code and the README to docs/; a site holds docs/ alone.
"""

import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
_README = "<!-- README -->"
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Adapt one page.

    Raises:
        FileNotFoundError: a link leads to a file that does not exist.
    """
    docs = Path(config["docs_dir"])
    source = docs / page.file.src_uri
    if _README in markdown:
        source = ROOT / "README.md"
        markdown = source.read_text(encoding="utf-8")
    return _replace(markdown, lambda link: _in_site(link, source.parent, docs))


def _replace(markdown: str, new: Callable[[re.Match], str]) -> str:
    """Replace the links outside fenced code."""
    parts = _FENCED.split(markdown)
    parts[::2] = [_LINK.sub(new, text) for text in parts[::2]]
    return "".join(parts)


def _in_site(link: re.Match, here: Path, docs: Path) -> str:
    """Make a link to a page relative to docs/; of a link to another file keep the text."""
    text, target, anchor = link.groups()
    path = (here / target).resolve()
    if path.is_relative_to(docs):
        # MkDocs itself reports pages that do not exist.
        return f"[{text}]({path.relative_to(docs).as_posix()}{anchor or ''})"
    if not path.exists():
        raise FileNotFoundError(f"{here}: the link to {target} leads nowhere")
    return text
