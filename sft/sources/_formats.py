"""How the three formats write a conversation down, and what of it is none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from judge.documents import show_value
from sft.records import Role
from sft.settings import Format
from sft.sources._record import Refusal, kind_name, parse_json

Turn: TypeAlias = dict[str, str]
"""``content`` and ``role``, in this order: that of canonical JSON."""

NEEDED: Mapping[Format, tuple[str, ...]] = {
    Format.OPENAI: ("messages",),
    Format.SHAREGPT: ("conversations",),
    Format.ALPACA: ("instruction", "output"),
}
"""The fields that every record of a format has; they tell formats apart, in this order."""

FIELDS: Mapping[Format, tuple[str, ...]] = {
    Format.OPENAI: ("messages",),
    Format.SHAREGPT: ("conversations", "system"),
    Format.ALPACA: ("instruction", "input", "output", "system"),
}
"""All fields that are read."""

_PARAGRAPH = "\n\n"


@dataclass(frozen=True, slots=True)
class _Turns:
    """How a format writes a turn."""

    role: str
    content: str
    roles: Mapping[str, Role]


_TURNS = {
    Format.OPENAI: _Turns(
        "role",
        "content",
        {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"},
    ),
    Format.SHAREGPT: _Turns(
        "from",
        "value",
        {
            "system": "system",
            "human": "user",
            "user": "user",
            "gpt": "assistant",
            "assistant": "assistant",
            "chatgpt": "assistant",
            "bing": "assistant",
            "bard": "assistant",
        },
    ),
}

_TOOL_ROLES = frozenset(
    {"tool", "function", "tool_call", "tool_response", "function_call", "function_response",
     "observation", "ipython"}
)  # fmt: skip
_TOOL_FIELDS = ("tool_calls", "function_call", "audio")


@dataclass(frozen=True, slots=True)
class Shape:
    """The format of one file, and under which names it has its fields."""

    format: Format
    names: Mapping[str, str]
    """Every format's field → the file's own name for it."""
    origin: str
    """How the format is known, for people: ``the source declares``."""

    def fits(self, fields: Collection[str]) -> bool:
        """Whether a record or table with these fields has what the format needs."""
        return all(self.names[field] in fields for field in NEEDED[self.format])


def all_names(fields: Mapping[str, str]) -> dict[str, str]:
    """Every format's field → the name that a source's ``fields`` give it, or its own."""
    every = sorted({field for names in FIELDS.values() for field in names})
    return {field: fields.get(field, field) for field in every}


def describe(format_: Format, names: Mapping[str, str]) -> str:
    """The needed fields of a format, for people: ``instruction and output``."""
    return " and ".join(names[field] for field in NEEDED[format_])


def list_fields(fields: Iterable[str]) -> str:
    """Names of fields, for people."""
    return show_value(", ".join(map(str, fields)) or "none", 200)


def conversation(record: Mapping[str, Any], shape: Shape) -> list[Turn] | Refusal:
    """The turns of a record, or why it is no conversation.

    There is at least one turn of the user and one of the assistant. Texts stay as they are.
    """
    for field in NEEDED[shape.format]:
        if record.get(shape.names[field]) is None:
            return _misfit(record, shape)
    system = _system(record, shape)
    if isinstance(system, Refusal):
        return system
    turns = _alpaca(record, shape) if shape.format is Format.ALPACA else _turn_list(record, shape)
    if isinstance(turns, Refusal):
        return turns
    return system + turns if system else turns


def _system(record: Mapping[str, Any], shape: Shape) -> list[Turn] | Refusal:
    """The message of the field ``system``, where the format has one and it is not empty."""
    if shape.format is Format.OPENAI:
        return []
    name = shape.names["system"]
    text = record.get(name)
    if text is None or text == "":
        return []
    if type(text) is not str:
        return _not_text(name, text)
    return [{"content": text, "role": "system"}]


def _alpaca(record: Mapping[str, Any], shape: Shape) -> list[Turn] | Refusal:
    """Prompt and answer; an input follows the instruction as a paragraph of its own."""
    names = shape.names
    instruction, output = record[names["instruction"]], record[names["output"]]
    more = record.get(names["input"])
    for field, text in (("instruction", instruction), ("output", output), ("input", more)):
        if type(text) is not str and not (text is None and field == "input"):
            return _not_text(names[field], text)
    prompt = _PARAGRAPH.join((instruction, more)) if instruction and more else instruction or more
    return [{"content": prompt or "", "role": "user"}, {"content": output, "role": "assistant"}]


def _turn_list(record: Mapping[str, Any], shape: Shape) -> list[Turn] | Refusal:
    """The turns of the formats that list them; the list may be written as JSON in a text."""
    name = shape.names[NEEDED[shape.format][0]]
    entries = record[name]
    if type(entries) is str:
        entries = parse_json(entries)
        if isinstance(entries, Refusal):
            return Refusal(entries.reason, f"{name}: {entries.detail}")
    if type(entries) is not list:
        return Refusal("wrong_type", f"{name}: found {kind_name(entries)}, expected a list")
    style = _TURNS[shape.format]
    turns: list[Turn] = []
    prompted = answered = False
    for entry in entries:
        if type(entry) is not dict:
            return Refusal(
                "wrong_type",
                f"{name}[{len(turns)}]: found {kind_name(entry)}, expected an object",
            )
        content = entry.get(style.content)
        written = entry.get(style.role)
        role = style.roles.get(written) if type(written) is str else None
        # Two fields of the expected kinds are the rule; all else is looked at closely.
        if role is None or type(content) is not str or len(entry) > 2:
            turn = _unusual(entry, style, name, len(turns))
            if isinstance(turn, Refusal):
                return turn
        else:
            turn = {"content": content, "role": role}
        turns.append(turn)
        prompted = prompted or turn["role"] == "user"
        answered = answered or turn["role"] == "assistant"
    return turns if prompted and answered else _one_sided(name, turns, prompted)


def _unusual(entry: Mapping[str, Any], style: _Turns, name: str, index: int) -> Turn | Refusal:
    """A turn with further fields or with content in parts; or what is wrong with it."""
    place = f"{name}[{index}]"
    if style.role not in entry:
        return Refusal(
            "missing_field",
            f"{place}: found only the fields {list_fields(entry)}, "
            f"expected {style.role} and {style.content}.{_other_style(entry, style, name)}",
        )
    written = entry[style.role]
    if type(written) is not str:
        return _not_text(f"{place}.{style.role}", written)
    field = next((name for name in _TOOL_FIELDS if entry.get(name)), None)
    if written in _TOOL_ROLES or field is not None:
        found = f"the role {written}" if written in _TOOL_ROLES else f"the field {field}"
        return Refusal(
            "unsupported",
            f"{place}: found {found}, expected turns of system, user and assistant. "
            "Calls of tools and sound cannot be trained on",
        )
    if written not in style.roles:
        return Refusal(
            "unknown_role",
            f"{place}.{style.role}: found {show_value(written, 40)}, "
            f"expected one of {', '.join(style.roles)}",
        )
    if entry.get("weight") == 0 and style.roles[written] == "assistant":
        return Refusal(
            "unsupported",
            f"{place}.weight: found 0, an answer that must not be trained on; expected 1 or no "
            "weight. Every answer of a conversation is trained on: end it before this one",
        )
    content = _text(entry.get(style.content), f"{place}.{style.content}")
    if isinstance(content, Refusal):
        return content
    return {"content": content, "role": style.roles[written]}


def _text(content: object, place: str) -> str | Refusal:
    """Content as one text; parts follow one another directly, as chat templates put them."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return _not_text(place, content)
    texts = []
    for index, part in enumerate(content):
        if not isinstance(part, dict) or "type" not in part:
            return Refusal(
                "wrong_type",
                f"{place}[{index}]: found {kind_name(part)}, expected a part with type and text",
            )
        if part["type"] != "text":
            return Refusal(
                "unsupported",
                f"{place}[{index}]: found a part of the type {show_value(part['type'], 40)}, "
                "expected text. Only text can be trained on",
            )
        if not isinstance(part.get("text"), str):
            return _not_text(f"{place}[{index}].text", part.get("text"))
        texts.append(part["text"])
    return "".join(texts)


def _not_text(place: str, value: object) -> Refusal:
    return Refusal("wrong_type", f"{place}: found {kind_name(value)}, expected text")


def _one_sided(name: str, turns: Sequence[Turn], prompted: bool) -> Refusal:
    missing = "of the assistant" if prompted else "of the user"
    found = f"{len(turns)} turns, none {missing}" if turns else "no turn"
    return Refusal(
        "one_sided", f"{name}: found {found}, expected one of the user and one of the assistant"
    )


def _misfit(record: Mapping[str, Any], shape: Shape) -> Refusal:
    """Why a record lacks what its format needs: it is of another one, or incomplete."""
    present = [name for name, value in record.items() if value is not None]
    expected = f"{describe(shape.format, shape.names)} ({shape.format}, {shape.origin})"
    for other, needed in NEEDED.items():
        if other is not shape.format and all(shape.names[field] in present for field in needed):
            return Refusal(
                "mixed_schema",
                f"found {describe(other, shape.names)}, which looks like {other}; expected "
                f"{expected}. Put records of one format into one file",
            )
    return Refusal(
        "missing_field", f"found only the fields {list_fields(present)}, expected {expected}"
    )


def _other_style(entry: Mapping[str, Any], style: _Turns, name: str) -> str:
    """The remedy for turns that are written as in another format."""
    for format_, other in _TURNS.items():
        if other is not style and other.role in entry:
            field = NEEDED[format_][0]
            return f" Set format: {format_} and fields: {{{field}: {name}}} for such turns"
    return ""
