"""The envelope of a reply, the verdict in it, and what content faults make of it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import orjson

from tests.chat_server import _judge
from tests.chat_server._behaviour import NULL_CONTENT, OK, SLOW, Behaviour
from tests.chat_server._logprobs import logprobs_of, spaced
from tests.chat_server._shape import Checklist, Group, Pair, Single, Token, Wanted, draw

Verdict = dict[str, Any]
FABRICATED = "Words that nobody ever wrote."
_FINISH = {"length": "length", "content_filter": "content_filter"}
_EXPLAINED = (
    "the answer names what was asked for and gives a reason but leaves one point open that the "
    "description of the next level wants to see while nothing in it is wrong or out of place"
)


class Reply:
    """One reply in the making: the whole object, and the part and field that faults aim at."""

    def __init__(self, b: Behaviour, wanted: Wanted, attempt: int) -> None:
        self.b, self.wanted, self.attempt = b, wanted, attempt
        shape, target = wanted.shape, _judge.target_of(wanted)
        self.part: Verdict
        self.whole: Verdict
        match shape:
            case Single(levels):
                self.whole = self.part = self._single(wanted.criterion, levels)
            case Group(parts):
                self.whole = {name: self._part(name, part) for name, part in parts}
                self.part = self.whole[target]
            case Checklist(items):
                self.whole = self._checklist(wanted.criterion, items)
                self.part = self.whole[target]
            case Pair():
                self.whole = self.part = self._pair()
            case Token():
                obeyed = draw(wanted.key, "obeys") < b.canary_obeys
                self.whole = self.part = {"token": wanted.token(obeyed=obeyed)}
        self.several = self.part is not self.whole
        self.target = target
        if "item_1" in self.part:
            self.part = self.part["item_1"]
        self.field = next(name for name in ("level", "met", "better", "token") if name in self.part)

    def _part(self, name: str, part: Single | Checklist) -> Verdict:
        if isinstance(part, Single):
            return self._single(name, part.levels)
        return self._checklist(name, part.items)

    def _single(self, name: str, levels: tuple[int, ...]) -> Verdict:
        return {
            "evidence": self._evidence("ANSWER"),
            "rationale": self._rationale(name),
            "level": _judge.level_of(self.b, self.wanted, name, levels, self.attempt),
        }

    def _checklist(self, name: str, items: int) -> Verdict:
        verdict: Verdict = {
            f"item_{number}": {
                "evidence": self._evidence("ANSWER"),
                "met": _judge.met(self.b, self.wanted, name, number, self.attempt),
            }
            for number in range(1, items + 1)
        }
        return verdict | {"rationale": self._rationale(name)}

    def _pair(self) -> Verdict:
        return {
            "evidence_first": self._evidence("FIRST_ANSWER"),
            "evidence_second": self._evidence("SECOND_ANSWER"),
            "rationale": self._rationale(""),
            "better": _judge.better_of(self.b, self.wanted, self.attempt),
        }

    def _evidence(self, name: str) -> list[str]:
        """The first characters of a marked answer, or words that nobody wrote."""
        if self.b.evidence == "fabricated":
            return [FABRICATED]
        if self.b.evidence == "none":
            return []
        text = self.wanted.marked.get(name, "")
        return [text[:12]] if text.strip() else []

    def _rationale(self, name: str) -> str:
        words = [f"Rationale {self.wanted.key[:12]}."]
        if count := self.b.rationale_words:
            stock = _EXPLAINED.split()
            start = int(draw(self.wanted.key, name, "words") * len(stock))
            words = [stock[(start + n) % len(stock)] for n in range(count)]
        return " ".join(words)

    def other(self) -> Any:
        """Another valid value of the field that faults aim at."""
        value = self.part[self.field]
        match self.field:
            case "level":
                known = _judge.scales(self.wanted)
                levels = known[self.target] if self.target in known else next(iter(known.values()))
                return levels[(levels.index(value) + 1) % len(levels)] if value in levels else 0
            case "met":
                return not value
            case "better":
                return "second" if value == "first" else "first"
        return f"{value}x"

    def text(self, **changes: Any) -> str:
        """The reply with changes to its part."""
        kept = dict(self.part)
        self.part.update(changes)
        try:
            return json.dumps(self.whole, ensure_ascii=False)
        finally:
            self.part.clear()
            self.part.update(kept)

    def valued(self, level: Any, met: Any, better: Any) -> str:
        """The reply with this in the field that faults aim at."""
        value = {"level": level, "met": met, "better": better, "token": level}[self.field]
        return self.text(**{self.field: value})

    def without(self) -> str:
        """The reply without the field that faults aim at."""
        kept = dict(self.part)
        del self.part[self.field]
        text = json.dumps(self.whole, ensure_ascii=False)
        self.part.clear()
        self.part.update(kept)
        return text

    def rationale(self, text: str) -> str:
        """The reply with another rationale, of the part that faults aim at if it has one."""
        if "rationale" in self.part:
            return self.text(rationale=text)
        return json.dumps({**self.whole, "rationale": text}, ensure_ascii=False)

    def evidence(self, value: Any) -> str:
        """The reply with other evidence."""
        return self.text(**{"evidence_first" if self.field == "better" else "evidence": value})


def _twice(r: Reply) -> str:
    field = json.dumps(r.field)
    return r.text(**{"@again": r.other()}).replace('"@again"', field, 1)


def _deep(r: Reply) -> str:
    return r.evidence("@").replace('"@"', "[" * 20_000 + "]" * 20_000, 1)


def _half_of_a_pair(r: Reply) -> str:
    return r.rationale("@").replace('"@"', json.dumps("half of a pair: \ud800."), 1)


def _fewer(r: Reply) -> str:
    if not r.several:
        return r.without()
    return json.dumps({name: value for name, value in r.whole.items() if name != r.target})


def _more(r: Reply) -> str:
    if not r.several:
        return r.text(confidence=0.9)
    invented = "invented" if isinstance(r.wanted.shape, Group) else f"item_{len(r.whole)}"
    return json.dumps({**r.whole, invented: r.whole[r.target]}, ensure_ascii=False)


# The text of a reply whose envelope is in order, made from the verdict that would be right.
_CONTENT: dict[str, Callable[[Reply], str]] = {
    "prose": lambda r: f"This is my verdict:\n\n{r.text()}\n\nI hope that this helps.",
    "fenced": lambda r: f"```json\n{r.text()}\n```",
    "two_objects": lambda r: f"{r.text()}\n{r.text(**{r.field: r.other()})}",
    "duplicate_key": _twice,
    "out_of_range": lambda r: r.valued(9, "perhaps", "both"),
    "wrong_type": lambda r: r.valued(str(r.part[r.field]), str(r.part[r.field]).lower(), 1),
    "float_level": lambda r: r.valued(3.5, 0.5, 0.5),
    "nan": lambda r: r.valued(math.nan, math.nan, math.nan),
    "null_level": lambda r: r.valued(None, None, None),
    "lone_surrogate": _half_of_a_pair,
    "truncated_json": lambda r: r.text()[: len(r.text()) // 2],
    "length": lambda r: r.text()[: len(r.text()) // 2],
    "content_filter": lambda r: r.text(),
    "missing_key": lambda r: r.without(),
    "extra_key": lambda r: r.text(confidence=0.9),
    "empty_content": lambda r: "",
    "fabricated_evidence": lambda r: r.evidence([FABRICATED]),
    "deep_nesting": _deep,
    "huge": lambda r: r.rationale("All of it is right. " * 50_000),
    "group_missing_criterion": _fewer,
    "group_one_out_of_range": lambda r: r.valued(9, "perhaps", "both"),
    "group_extra_criterion": _more,
}


def completion(
    b: Behaviour, kind: str, wanted: Wanted, attempt: int, cached: int | None = None
) -> dict[str, Any]:
    """The envelope of a reply, as a chat.completion; ``cached``: tokens found in the cache."""
    body, key = wanted.body, wanted.key
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    logprobs = None
    if kind == "refusal":
        message["refusal"] = "I'm sorry, I can't help with that."
    if kind not in NULL_CONTENT:
        message["content"], logprobs = _content(b, kind, wanted, attempt)
    prompt = sum(len(str(m.get("content"))) for m in body.get("messages", ())) // 4
    if cached is not None:
        prompt = prompt_tokens(body)
    written = len(message["content"] or "") // 4
    choice = {
        "index": 0,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": _FINISH.get(kind, "stop"),
    }
    return {
        "id": f"chatcmpl-{key[:16]}-{attempt}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [] if kind == "empty_choices" else [choice],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
            "prompt_tokens_details": {"cached_tokens": prompt // 4 if cached is None else cached},
        },
    }


def _content(
    b: Behaviour, kind: str, wanted: Wanted, attempt: int
) -> tuple[str, dict[str, Any] | None]:
    """The text of a reply, and its log-probabilities where they are asked for and given."""
    if make := _CONTENT.get(kind):
        return make(Reply(b, wanted, attempt)), None
    if b.replies == "text" or (b.replies == "auto" and wanted.recognised is None):
        return f"Answer {wanted.key[:12]}.", None
    reply = Reply(b, wanted, attempt)
    if not wanted.body.get("logprobs") or b.logprobs in {"ignored", "rejected"}:
        return orjson.dumps(reply.whole).decode(), None
    text = spaced(wanted, reply.whole)
    if kind != OK and kind not in SLOW:
        return text, None
    return text, logprobs_of(b, wanted, text, attempt)


def rendered(body: dict[str, Any]) -> bytes:
    """The messages as a server would render them, for the count of tokens (of 4 bytes)."""
    parts = [f"<|{m.get('role')}|>\n{m.get('content')}\n" for m in body.get("messages", ())]
    return "".join(parts).encode()


def prompt_tokens(body: dict[str, Any]) -> int:
    """Tokens of 4 bytes in the rendered messages."""
    return -(-len(rendered(body)) // 4)
