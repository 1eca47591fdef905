"""Reading the YAML of a night run; errors name file, line, field, and never show a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from judge.documents import load_document
from judge.errors import UsageError
from judge.nightly._notify_config import read_notify
from judge.nightly._reading import HIDDEN, Reading, beside, typed, unshown_secrets
from judge.nightly._settings import (
    DATE,
    OUT,
    AgainSettings,
    AlarmSettings,
    AnchorSettings,
    BaselineSettings,
    CandidateSettings,
    EmailSettings,
    JudgeSettings,
    NightlyConfig,
    NotifySettings,
    RetentionSettings,
    SendingSettings,
    SliceSettings,
    Webhook,
    WebhookFormat,
    When,
)

__all__ = [
    "AgainSettings",
    "AlarmSettings",
    "AnchorSettings",
    "BaselineSettings",
    "CandidateSettings",
    "EmailSettings",
    "JudgeSettings",
    "NightlyConfig",
    "NotifySettings",
    "RetentionSettings",
    "SendingSettings",
    "SliceSettings",
    "Webhook",
    "WebhookFormat",
    "When",
    "load_nightly",
]

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")
_LOCAL = ("vllm:", "hf:")
_SERVED = ("openai:", "http://", "https://")
_FORMS = "openai:MODEL, http://HOST:PORT/v1#MODEL, vllm:MODEL or hf:FOLDER"
_DURATION = re.compile(r"(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?")
_MODEL_ONLY = ("temperature", "max_tokens", "seed", "system", "strip_thinking")


def load_nightly(path: str | Path) -> NightlyConfig:
    """Read the settings of a series.

    Relative paths start at the folder of the file, also those inside of a ``sqlite:``, ``vllm:``
    or ``hf:`` name, so that a scheduler may start the command anywhere. Whether models answer and
    variables are set is for those who use them.

    Raises InputError with file, line, field, what was found and what was expected, and with a
    remedy where there is one. A value that may hold a secret is not shown.
    """
    file = Path(path)
    with unshown_secrets():
        document = load_document(file, "nightly")
    data: Mapping[str, Any] = document.data
    # Whole, so that models have the same identity from whichever directory the file is read.
    reading = Reading(document, data, file.parent.resolve())
    plain = ("series", "description", "stage", "canaries", "max_unscored")
    known = typed(NightlyConfig, {name: data[name] for name in plain if name in data})
    if "time_limit" in data:
        known["time_limit"] = _time_limit(reading, data["time_limit"])
    return NightlyConfig(
        path=file,
        out=beside(reading.base, data.get("out", OUT)),
        candidate=_candidate(reading),
        judge=_judge(reading),
        ledger=_ledger(reading),
        questions=reading.named("questions", "prompts/questions"),
        rubric=reading.named("rubric", "rubrics"),
        weights=reading.named("weights", "rubrics/weights", "equal"),
        baseline=reading.section("baseline", BaselineSettings),
        anchors=reading.section("anchors", AnchorSettings),
        slice=reading.section("slice", SliceSettings),
        again=reading.section("again", AgainSettings),
        alarms=reading.section("alarms", AlarmSettings),
        sending=_sending(reading),
        retention=reading.section("retention", RetentionSettings),
        notify=read_notify(reading),
        **known,
    )


def _candidate(reading: Reading) -> CandidateSettings:
    document, entry = reading.document, reading.data["candidate"]
    if ("model" in entry) == ("answers" in entry):
        both = "model" in entry
        raise document.error(
            ["candidate", "answers"] if both else ["candidate"],
            found="both model and answers" if both else "neither model nor answers",
            expected="one of the two",
            remedy="model is asked every night, answers names files made elsewhere",
        )
    if "answers" in entry and (idle := next((n for n in _MODEL_ONLY if n in entry), None)):
        raise document.error(
            ["candidate", idle],
            found=f"{idle} beside answers",
            expected="fields of a model only where a model answers",
            remedy="Leave it out: the answers of a file are taken as they are",
        )
    name = entry.get("name") or reading.data["series"]
    if name != name.strip() or "," in name or not name.isprintable():
        raise document.error(
            ["candidate", "name"],
            found=repr(name),
            expected="a name without commas, control characters and white space around it",
        )
    known = {key: value for key, value in entry.items() if key not in {"model", "answers", "name"}}
    return CandidateSettings(
        name=name,
        model=_model(reading, "candidate") if "model" in entry else None,
        answers=_answers(reading, entry["answers"]) if "answers" in entry else None,
        **typed(CandidateSettings, known),
    )


def _answers(reading: Reading, text: str) -> str:
    if re.search(r"[{}]", text.replace(DATE, "")):
        raise reading.document.error(
            ["candidate", "answers"],
            found=text,
            expected=f"a path, in which {DATE} may stand for the date of the night",
        )
    return str(beside(reading.base, text))


def _judge(reading: Reading) -> JudgeSettings:
    entry = {key: value for key, value in reading.data["judge"].items() if key != "model"}
    return JudgeSettings(model=_model(reading, "judge"), **typed(JudgeSettings, entry))


def _model(reading: Reading, section: str) -> str:
    """The SPEC of a model, its folder and its files absolute."""
    place, text = [section, "model"], str(reading.data[section]["model"]).strip()
    forms = _FORMS if section == "candidate" else f"{_FORMS}, or offline"
    if text.startswith(_LOCAL):
        return _local(reading.base, text)
    if text.startswith(_SERVED) and "," not in text:
        from judge.endpoint import parse_spec

        try:
            parse_spec(text)
        except UsageError as error:
            shown = HIDDEN if "@" in text or "?" in text else text
            raise reading.document.error(
                place, found=shown, expected=forms, remedy=str(error)
            ) from None
        return text
    if text == "offline" and section == "judge":
        return text
    remedy = None
    if text == "auto":
        remedy = "A judge that the surroundings choose could change between two nights: name it"
    elif text == "offline":
        remedy = "The offline baseline judges answers, it gives none"
    elif "," in text:
        remedy = "A series has one model here; a change of it is what is watched for"
    raise reading.document.error(place, found=text, expected=forms, remedy=remedy)


def _local(base: Path, spec: str) -> str:
    """A ``vllm:`` or ``hf:`` SPEC with its folder and its template's file made absolute.

    ORG/NAME is the id of a model on a hub where this file has no folder ORG beside it.
    """
    scheme, _, rest = spec.partition(":")
    reference, mark, query = rest.partition("?")
    hub = scheme == "vllm" and reference.count("/") == 1
    folder = beside(base, reference)
    if reference and not (hub and not folder.parent.exists()):
        reference = str(folder)
    options = [
        f"{name}={quote(str(beside(base, unquote(value))))}" if name == "chat_template" else option
        for option in query.split("&")
        for name, _, value in [option.partition("=")]
    ]
    return f"{scheme}:{reference}{mark}{'&'.join(options)}"


def _ledger(reading: Reading) -> str | None:
    url: str | None = reading.data.get("ledger")
    if url is None:
        return None
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return f"{_SQLITE}{beside(reading.base, url.removeprefix(_SQLITE))}"
    expected = f"{_SQLITE}FILE or postgresql://USER@HOST/DATABASE"
    if not url.startswith(_POSTGRES):
        raise reading.document.error(["ledger"], found="a URL of another form", expected=expected)
    if _holds_password(url):
        raise reading.document.error(
            ["ledger"],
            found="a URL with a password",
            expected=f"{expected}, without one",
            remedy="Leave the field out and set PLUMBLINE_LEDGER, or keep the password in "
            "PGPASSWORD or ~/.pgpass",
        )
    return url


def _holds_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.password) or any("password" in name for name in parse_qs(parts.query))
    except ValueError:
        return True  # unreadable: it may hold anything


def _sending(reading: Reading) -> SendingSettings:
    from judge.endpoint import Budget, Prices

    entry = dict(reading.data.get("sending", {}))
    unit = None
    if entry.get("budget") is not None:
        entry["budget"] = str(entry["budget"])
        try:
            _, unit = Budget.parse(entry["budget"])
        except UsageError:
            raise reading.document.error(
                ["sending", "budget"], found=entry["budget"], expected="e.g. 5USD or 2000000tokens"
            ) from None
    price = entry.get("price")
    if price is not None:
        parts = price.split(";")
        if len(parts) > 2:
            raise reading.document.error(
                ["sending", "price"],
                found=f"{len(parts)} prices",
                expected="one for candidate and judge, or one for each with ; between them",
            )
        try:
            for part in parts:
                Prices.parse(part)
        except UsageError:
            raise reading.document.error(
                ["sending", "price"],
                found=price,
                expected="PROMPT,CACHED,COMPLETION in USD per million tokens, e.g. 1.25,0.125,10",
            ) from None
    elif unit == "USD":
        raise reading.document.error(
            ["sending", "budget"],
            found=entry["budget"],
            expected="a budget in tokens, or a price beside it",
            remedy="Add price: PROMPT,CACHED,COMPLETION (USD per million tokens)",
        )
    return SendingSettings(**typed(SendingSettings, entry))


def _time_limit(reading: Reading, value: str | float | None) -> float | None:
    """Seconds of ``4h``, ``90m``, ``1h30m``, ``45s`` or a number; None: no limit."""
    if value is None:
        return None
    seconds = _seconds(value) if isinstance(value, str) else float(value)
    if seconds <= 0:
        raise reading.document.error(
            ["time_limit"],
            found=value,
            expected="seconds above 0, or a time such as 4h, 90m, 1h30m or 45s, or null",
        )
    return seconds


def _seconds(text: str) -> float:
    """The seconds of a time in words; 0 for what is none."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return 0.0
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + seconds)
