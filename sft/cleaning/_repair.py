"""Repair of texts: what no reader meant to be there goes, everything else stays.

A repair never looks at meaning, and code is out of bounds: in fenced blocks only line ends, control
and invisible characters and foreign spaces (one for one) are replaced, and spaces within a line
stay everywhere. Quotes, dashes, ligatures, full-width characters and HTML entities stay as they
are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

import polars as pl

from judge.hardening import INVISIBLE, hidden_positions
from sft.cleaning._code import in_prose
from sft.cleaning._structure import Arranged, Change, Turn, arrange

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that it cannot decode."""

_ENCODINGS = re.compile(
    r"mojibake|\butf-?(?:8|16)|\bunicode\b|latin-?1\b|iso-?8859|\bcp-?125\d|windows-?125\d|ftfy"
    r"|\bcharsets?\b|character (?:encoding|set)|code ?page|decod(?:e|ing) (?:error|the bytes)"
    r"|乱码|亂碼|字符编码|字元編碼|字符集|文字化け|文字コード|кодировк|кракозябр|zeichenkodierung"
    r"|encodage des caract|codificación de caracteres",
    re.IGNORECASE,
)
"""A conversation about encodings may show wrongly decoded text on purpose."""

_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile("\x1b\\[[0-9;]*[A-Za-z]|[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_SPACE = re.compile("[\u00a0\u2000-\u200a\u202f\u205f]")
_BLANK_LINES = re.compile("\n{4,}")
_BLANK_START = re.compile("(?:[ \t\u3000]*\n)+")
_INDENT = re.compile("[ \t\u3000]*")
_EDGE = " \t\n\u3000"
_CODE_INDENT = 4

_SUSPECT = (
    "["
    + INVISIBLE.replace("\ud800-\udfff", "")
    + "\u00a0\u2000-\u200a\u2028\u2029\u202f\u205f]"
    + f"|\\A[{_EDGE}]|[{_EDGE}]\\z|[ \t\u3000]\n|\n{{4}}"
)


def suspect(texts: pl.Series) -> pl.Series:
    """Of each text, whether it may need a repair; where this is False, `mend` changes nothing."""
    found = texts.str.contains(_SUSPECT) | texts.str.contains(_mojibake_pattern())
    # ASCII is in normal form, and saying so is 80 times as fast as trying.
    rest = (~found & (texts.str.len_bytes() > texts.str.len_chars())).arg_true()
    open_ = texts.gather(rest)
    return found.scatter(rest, open_.str.normalize("NFC") != open_)


def mend(turns: Sequence[Turn]) -> Arranged:
    """Repair every turn and bring the turns in order, until nothing changes any more.

    Wrongly decoded text is repaired only where the conversation does not speak of encodings. The
    result is a fixed point, so mending it again changes nothing. Changes are listed by kind, the
    first of each.
    """
    changes: dict[str, Change] = {}
    turns = tuple(turns)
    while True:
        texts: list[Turn] = []
        for turn in turns:
            text = turn.content
            for kind, after in _repairs(text, turns):
                changes.setdefault(kind, Change(kind, text, after))
                text = after
            texts.append(Turn(turn.role, text))
        arranged = arrange(texts)
        for change in arranged.changes:
            changes.setdefault(change.kind, change)
        if arranged.refusal is not None or arranged.turns == turns:
            return arranged._replace(changes=tuple(changes.values()))
        turns = arranged.turns


def speaks_of_encodings(turns: Sequence[Turn]) -> bool:
    """Whether a conversation is about character encodings."""
    return any(_ENCODINGS.search(turn.content) for turn in turns)


def _repairs(text: str, turns: Sequence[Turn]) -> Iterator[tuple[str, str]]:
    """Every kind of repair that changes a text of a conversation, and the text after it."""
    for kind, repair in _REPAIRS:
        after = repair(text)
        if after == text or (kind == "mojibake" and speaks_of_encodings(turns)):
            continue
        yield kind, after
        text = after


def _decode_again(text: str) -> str:
    """Undo wrong decoding (UTF-8 read as Windows-1252 and the like), line by line."""
    if text.isascii():
        return text
    import ftfy

    # Every other repair of ftfy is off: we count them one by one, or do not want them.
    settings = ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
    return in_prose(lambda piece: ftfy.fix_text(piece, settings), text)


def _end_lines(text: str) -> str:
    return _LINE_END.sub("\n", text)


def _without_controls(text: str) -> str:
    return _CONTROL.sub("", text)


def _without_invisible(text: str) -> str:
    hidden = hidden_positions(text)
    if not hidden:
        return text
    ends = [*hidden, len(text)]
    starts = [0, *(position + 1 for position in hidden)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _plain_spaces(text: str) -> str:
    return _SPACE.sub(" ", text)


def _composed(text: str) -> str:
    return text if text.isascii() else in_prose(_normal_form, text)


def _normal_form(piece: str) -> str:
    # Python's takes the square of the length of a run of combining marks.
    normal: str = pl.Series([piece]).str.normalize("NFC").item()
    return normal


def _trimmed(text: str) -> str:
    """Without white space at line ends and around the text, and with at most two blank lines."""
    return _without_margin(in_prose(_tidy_lines, text).rstrip(_EDGE))


def _tidy_lines(piece: str) -> str:
    # A regular expression for the spaces takes the square of the length of a run of them.
    return _BLANK_LINES.sub("\n\n\n", "\n".join(line.rstrip(_EDGE) for line in piece.split("\n")))


def _without_margin(text: str) -> str:
    """Without blank lines at the front, and without an indentation that is no code's.

    The indentation of the first line stays if it is one of Markdown's code (a tab or four spaces),
    or if the next line is indented at least as far.
    """
    if blank := _BLANK_START.match(text):
        text = text[blank.end() :]
    margin = _indent(text)
    if not margin or "\t" in margin or len(margin) >= _CODE_INDENT:
        return text
    following = next((line for line in text.split("\n")[1:] if line.strip(_EDGE)), "")
    return text if len(_indent(following)) >= len(margin) else text[len(margin) :]


def _indent(line: str) -> str:
    found = _INDENT.match(line)
    return found[0] if found else ""


_REPAIRS = (
    # First, since its evidence is made of the spaces and controls that the others replace.
    ("mojibake", _decode_again),
    ("line_ends", _end_lines),
    ("control_characters", _without_controls),
    ("invisible_characters", _without_invisible),
    ("unicode_spaces", _plain_spaces),
    ("normal_form", _composed),
    ("white_space", _trimmed),
)

CHANGES = (
    *(kind for kind, _ in _REPAIRS),
    "empty_system",
    "joined_system",
    "unanswered_prompt",
    "joined_prompts",
)
"""Kinds of changes: repairs of texts, then those of the order of turns."""


@cache
def _mojibake_pattern() -> str:
    """The heuristic of ftfy for wrongly decoded text, as a regular expression for polars.

    The heuristic takes 110 to 150 µs for a row in Python and 1 to 3 µs in polars. It is written in
    Python's verbose syntax, in which white space counts within brackets; polars' verbose syntax
    ignores it there too, hence the plain form.
    """
    from ftfy.badness import BADNESS_RE

    plain: list[str] = []
    for token in re.finditer(r"\\.|\[(?:\\.|[^\]])*\]|#[^\n]*|\s+|.", BADNESS_RE.pattern, re.S):
        if token[0][0] != "#" and not token[0].isspace():
            plain.append(token[0])
    return "(?m)" + "".join(plain)
