"""What is kept of the site: the pages of the newest nights; everything stays in the ledger."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from judge.nightly._site import GENERATOR

NIGHTS = "nights"
"""The folder of the pages of single nights, within the site."""
_PAGE = re.compile(r"(\d{4}-\d{2}-\d{2})\.html")
_MARK = f'<meta name="generator" content="{GENERATOR}">'.encode()


def prune(out: Path, keep_pages: int | None) -> list[Path]:
    """Remove the pages of single nights but for the newest ``keep_pages`` (None: keep all).

    A page is recognised by its name, the date of a night, and by the mark that we put into its
    head; any other file, folder or link is left alone and not counted. Returns what was removed,
    the oldest first.
    """
    if keep_pages is None:
        return []
    pages = sorted(place for place in (out / NIGHTS).glob("*.html") if _is_ours(place))
    old = pages[: max(len(pages) - keep_pages, 0)]
    for page in old:
        page.unlink(missing_ok=True)
    return old


def _is_ours(place: Path) -> bool:
    named = _PAGE.fullmatch(place.name)
    if named is None or place.is_symlink() or not place.is_file():
        return False
    try:
        date.fromisoformat(named[1])
    except ValueError:
        return False
    return _MARK in place.read_bytes().partition(b"</head>")[0]
