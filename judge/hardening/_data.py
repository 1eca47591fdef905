"""Text of a model or a user, made fit to stand between the markers of a prompt."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_VOCABULARY = (
    r"/?s|/?think|/?tool_call|/?tool_response|unk|pad|bos|eos|sop|eop|eod|"
    r"start_of_turn|end_of_turn|start_of_image|end_of_image|start_of_role|end_of_role|"
    r"end_of_text|end_of_utterance|fim_prefix|fim_middle|fim_suffix|"
    r"extra_id_\d+|SPECIAL_\d+|reserved_\d+|unused\d+"
)
"""Names that stand alone in angle brackets in the vocabulary of a common chat model."""

_ANGLE = (
    r"[<＜][|｜][^\s<>＜＞|｜]{1,64}[|｜][>＞]"  # <|im_start|>, <｜User｜>
    r"|<\|[a-z_]{3,32}>|<[a-z_]{3,32}\|>"  # <|turn>, <turn|>
    rf"|<<?/?SYS>>?|<(?:{_VOCABULARY})>"
)
_SQUARE = (
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|gMASK|sMASK)\]"
)
CHAT_TOKEN = re.compile(f"(?:{_ANGLE})|(?:{_SQUARE})")
"""A token by which a common chat template tells turns and roles apart."""

_HARMLESS = str.maketrans({"<": "⟨", ">": "⟩", "＜": "⟨", "＞": "⟩", "[": "⟦", "]": "⟧"})

# Controls, the code points that Unicode calls default ignorable, the interlinear marks, and lone
# surrogates. U+FFFC and the visible Arabic and Egyptian format characters are not among them.
INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_RUN = re.compile(f"[{INVISIBLE}]+")
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff"
    "\U0001e800-\U0001efff]"
)
# Scripts whose spelling needs joiners: Arabic and its kin, Indic, Myanmar, Khmer, Mongolian.
_JOINING = re.compile(
    "[\u0610-\u061a\u0620-\u06ff\u0700-\u085f\u0860-\u08ff\u0900-\u0dff\u1000-\u109f"
    "\u1780-\u17b3\u17b6-\u180a\u1810-\u18af\ufb50-\ufdff\ufe70-\ufefc\U00011000-\U00011fff]"
)
_EMOJI = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf"
    "\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_MONGOLIAN = re.compile("[\u1820-\u18af]")
_FLAG = "\U0001f3f4"
_FLAG_TAGS = re.compile("[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
_EMOJI_STYLE = "\ufe0e\ufe0f"


def as_data(text: str) -> str:
    """The text as it may stand between the markers of a prompt.

    Two things in a text can reach a judge other than as text. Chat-template tokens
    (``<|im_start|>``, ``[INST]``, ``</s>`` and their kin) may be encoded by a server as the very
    token that ends a turn; their brackets become the look-alikes ⟨ ⟩ ⟦ ⟧. Characters that people
    cannot see (zero-width, bidirectional controls, tags, further default-ignorable characters,
    controls, lone surrogates) can carry a message past a reviewer, or split a word that a scanner
    looks for; they become ``⟦U+200B⟧``. Everything else stays: line breaks and tabs, joiners and
    variation selectors where emoji or a script needs them (one at a time), directional marks in
    lines with right-to-left letters.

    The function never removes anything, so the judge grades what was written; it is idempotent;
    and it is the identity on ordinary prose, code, HTML and mathematics. The price is paid by the
    few texts that contain such a token for a good reason: an answer about chat templates, or the
    HTML element ``<s>``, is shown with look-alike brackets, and a soft hyphen is shown by its
    number. `quotable` lets the judge quote such passages either way.
    """
    return CHAT_TOKEN.sub(lambda token: token[0].translate(_HARMLESS), show_invisible(text))


def show_invisible(text: str) -> str:
    """The text with the characters shown that nobody would see, e.g. a zero-width space.

    It becomes ``⟦U+200B⟧``; joiners, variation selectors and directional marks stay where emoji or
    a script needs them. Idempotent.
    """
    return _RUN.sub(_show_run, text)


def quotable(text: str) -> tuple[str, ...]:
    """The forms of a text that a judge may quote: as it was given, and as it stood in the prompt.

    One form where both are the same.
    """
    shown = as_data(text)
    return (text,) if shown == text else (text, shown)


def hidden_positions(text: str) -> list[int]:
    """Where the characters stand that `as_data` makes visible, in order."""
    return [
        run.start() + index
        for run in _RUN.finditer(text)
        for index, stays in enumerate(_stays(run))
        if not stays
    ]


def _show_run(run: re.Match[str]) -> str:
    """A run of invisible characters, with those that its surroundings do not need made visible."""
    return "".join(
        character if stays else f"⟦U+{ord(character):04X}⟧"
        for character, stays in zip(run[0], _stays(run), strict=True)
    )


def _stays(run: re.Match[str]) -> list[bool]:
    """Of each character of a run of invisible ones, whether its surroundings need it.

    Decisions look at what was put out before and at the first visible character after the run,
    neither of which a second pass changes: hence `as_data` is idempotent.
    """
    text, characters = run.string, run[0]
    before = text[run.start() - 1] if run.start() else "\n"
    after = text[run.end()] if run.end() < len(text) else "\n"
    stays: list[bool] = []
    if before == _FLAG and (tags := _FLAG_TAGS.match(characters)):
        stays = [True] * tags.end()
        before = characters[tags.end() - 1]
    base = before
    for index in range(len(stays), len(characters)):
        character = characters[index]
        following = characters[index + 1] if index + 1 < len(characters) else after
        stays.append(_needed(character, before, base, following, run))
        if stays[-1]:
            before = character
            base = base if character in _EMOJI_STYLE else "\n"
        else:
            before = base = "⟧"
    return stays


def _needed(character: str, before: str, base: str, following: str, run: re.Match[str]) -> bool:
    """Whether an invisible character does here what it was made for.

    ``base`` is the visible character that it modifies, through a variation selector if need be.
    """
    match character:
        case "\r":
            return following == "\n"
        case "\u200d" if _EMOJI.match(base):
            return bool(_EMOJI.match(following))
        case "\u200c" | "\u200d":
            return bool(_JOINING.match(before))
        case "\u200e" | "\u200f" | "\u061c":
            return before not in "\u200e\u200f\u061c" and _in_right_to_left_line(run)
        case "\u034f":
            return unicodedata.combining(before) > 0
        case "\u180b" | "\u180c" | "\u180d" | "\u180e" | "\u180f":
            return bool(_MONGOLIAN.match(before))
    if "\ufe00" <= character <= "\ufe0f":
        return _varies(character, before)
    if "\U000e0100" <= character <= "\U000e01ef":
        return unicodedata.category(before) == "Lo"
    return False


def _varies(selector: str, before: str) -> bool:
    """Whether a variation selector follows a character of which variants exist."""
    if before in "0123456789#*":
        return selector in _EMOJI_STYLE
    if before.isascii() or re.match(f"[{INVISIBLE}]", before):
        return False
    return bool(_EMOJI.match(before)) or unicodedata.category(before) in ("Lo", "Sm", "So", "Po")


def _in_right_to_left_line(run: re.Match[str]) -> bool:
    text = run.string
    start = text.rfind("\n", 0, run.start()) + 1
    end = text.find("\n", run.end())
    return _has_right_to_left(text, start, len(text) if end < 0 else end)


@lru_cache(maxsize=16)
def _has_right_to_left(text: str, start: int, end: int) -> bool:
    """Whether a line has a right-to-left letter; asked again for every mark in it."""
    return bool(_RIGHT_TO_LEFT.search(text, start, end))
