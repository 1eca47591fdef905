"""Where a text is code: fenced blocks, and lines that look like statements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_OPENING = re.compile(r"[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([^\s`]*+)[^`\n]*+(?:\n|\Z)")
_TEXT_FENCES = frozenset({"text", "txt", "plain", "plaintext", "markdown", "md"})

_PUNCTUATION = "{};=()<>[]_"
_SUSPICIOUS_SHARE = 0.03
"""Prose has about one bracket in 100 characters; code has more than three of these in 100."""

_NO_STATEMENT = re.compile(r"\\[A-Za-z]")
"""Mathematics in LaTeX is full of braces and equals signs, and is no code here."""
_TAG = re.compile(r"</?[A-Za-z!][^<>]*>")
_LONG_LINE = 200
"""Some alternatives below take the square of a line's length."""
_STATEMENT = re.compile(
    r"""(?:
    (?:async\ )?(?:def|class)\ \w+.*:
    |import\ [\w.]+(?:\ as\ \w+)?(?:,.*)?;? | from\ [\w.]+\ import\ .+
    |(?:if|elif|while|for|with|except|switch|catch)\b.*(?:[=<>()\[\].].*:|[({)])
    |for\ [\w,\ ]+\ in\ .+: | (?:if|elif|while)\ (?:not\ )?[\w.]+: | (?:else|try|finally|do):?
    |return\b.*[\w)\]"';] | (?:break|continue|pass|end);?
    |(?:public|private|protected|static|final|const|let|var|function|func|fn|struct|using
      |namespace|package|interface|enum|impl|type)\ .*[={;()].*
    |\#(?:include|define|ifdef|ifndef|endif|pragma|!).*
    |(?:SELECT\b.+|INSERT\ INTO\b.+|UPDATE\b.+\bSET\b.+|DELETE\ FROM\b.+|CREATE\ \w+\ .+
      |FROM\ \w+.*|WHERE\ .+[=<>].*|(?:INNER|LEFT|RIGHT)?\ ?JOIN\ .+|(?:ORDER|GROUP)\ BY\ .+)
    |[\w.\[\]'"$*]+(?:\ [\w.\[\]<>*]+)?\s*[-+*/|&:]?=\s*[^\s=].*
    |[\w.]+\(.*\)\s*;?
    |.*[{}]
    |[)\]}]+[;,)]*
    |(?://|/\*|\*/|@\w+|\$\ |>>>\ |\.\.\.\ ).*
    )""",
    re.VERBOSE,
)


class Segment(NamedTuple):
    """A piece of a text: a fenced block with its fences, or what lies between two."""

    text: str
    fenced: bool
    language: str
    """What the fence says, in lower case; "" if it says nothing."""

    @property
    def code(self) -> bool:
        """Whether this is a fenced block that does not call itself text."""
        return self.fenced and self.language not in _TEXT_FENCES


def segments(text: str) -> list[Segment]:
    """The pieces of a text, in order; joined they are the text.

    A block starts with a line of at least three backticks or tildes, at any indentation, and ends
    with a line of at least as many of them, or with the text.
    """
    if not has_fence(text):
        return [Segment(text, False, "")] if text else []
    return list(_segments(text))


def has_fence(text: str) -> bool:
    """Whether a fence may be in the text; False is certain."""
    return "```" in text or "~~~" in text


def in_prose(change: Callable[[str], str], text: str) -> str:
    """The text with everything outside fenced blocks changed."""
    if not has_fence(text):
        return change(text)
    return "".join(piece.text if piece.fenced else change(piece.text) for piece in segments(text))


def prose(text: str) -> str:
    """The text without its fenced blocks, save those that call themselves text."""
    if not has_fence(text):
        return text
    return "\n".join(piece.text for piece in segments(text) if not piece.code)


def is_code(text: str) -> bool:
    """Whether at least half of a text is code, in characters other than white space.

    Code are fenced blocks, and outside of them lines that look like statements of a common
    programming language. Text without white space only is not code.
    """
    fenced = has_fence(text)
    if not fenced and not _is_suspicious(text):
        return False
    code = total = 0
    for piece in segments(text):
        size = _size(piece.text)
        total += size
        code += size if piece.code else _statements(piece.text)
    return 2 * code >= total > 0


def without_statements(text: str) -> str:
    """The lines of a text that do not look like statements, nor belong to one."""
    lines = text.split("\n")
    return "\n".join(
        line for line, code in zip(lines, _statement_lines(lines), strict=True) if not code
    )


def _segments(text: str) -> Iterator[Segment]:
    start = 0
    position = 0
    while position < len(text):
        opening = _OPENING.match(text, position)
        if opening is None:
            position = _next_line(text, position)
            continue
        if start < position:
            yield Segment(text[start:position], False, "")
        start, position = position, _end_of_block(text, opening)
        yield Segment(text[start:position], True, opening[2].lower())
        start = position
    if start < len(text):
        yield Segment(text[start:], False, "")


def _end_of_block(text: str, opening: re.Match[str]) -> int:
    """Where a fenced block ends, with its closing line."""
    mark = opening[1]
    position = opening.end()
    while position < len(text):
        end = _next_line(text, position)
        line = text[position:end].strip()
        if len(line) >= len(mark) and line == mark[0] * len(line):
            return end
        position = end
    return len(text)


def _next_line(text: str, position: int) -> int:
    end = text.find("\n", position) + 1
    return end or len(text)


def _is_suspicious(text: str) -> bool:
    return sum(map(text.count, _PUNCTUATION)) > _SUSPICIOUS_SHARE * len(text)


def _statements(text: str) -> int:
    """The size of the lines that look like statements."""
    if not _is_suspicious(text):
        return 0
    lines = text.split("\n")
    return sum(
        _size(line) for line, code in zip(lines, _statement_lines(lines), strict=True) if code
    )


def _statement_lines(lines: Sequence[str]) -> Iterator[bool]:
    """Of each line, whether it is a statement, or an indented line in the wake of one.

    So the arguments of a call, the text of a docstring and comments in a function count as code.
    """
    code = False
    for line in lines:
        if line.strip():
            code = (code and line.startswith(("  ", "\t"))) or _is_statement(line)
        yield code


def _is_statement(line: str) -> bool:
    line = line.strip()
    if not line or _NO_STATEMENT.search(line):
        return False
    if len(line) > _LONG_LINE:  # minified, or a paragraph
        return sum(map(line.count, _PUNCTUATION)) > 3 * _SUSPICIOUS_SHARE * len(line)
    if line[0] == "<" and 2 * len(_TAG.sub("", line)) <= len(line):
        return True
    if line[-1] == ";" and any(character in line for character in "=()[]<>+-"):
        return True
    return _STATEMENT.fullmatch(line) is not None


def _size(text: str) -> int:
    return sum(map(len, text.split()))
