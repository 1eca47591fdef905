"""The part of the YAML that says who is told; secrets are only named, by environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from judge.documents import FieldPath
from judge.nightly._reading import HIDDEN, Reading, typed
from judge.nightly._settings import EmailSettings, NotifySettings, Webhook, When

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def read_notify(reading: Reading) -> NotifySettings:
    """Who is told, and of which nights. Raises InputError with file, line and field."""
    entry = reading.data.get("notify", {})
    webhooks = []
    for index, hook in enumerate(entry.get("webhooks", ())):
        _require_variable(reading, ["notify", "webhooks", index, "url_env"], hook["url_env"])
        webhooks.append(Webhook(**typed(Webhook, hook)))
    known: dict[str, Any] = {"webhooks": tuple(webhooks)}
    if "when" in entry:
        known["when"] = tuple(When(when) for when in entry["when"])
    if entry.get("email") is not None:
        known["email"] = _email(reading, entry["email"])
    return NotifySettings(**known)


def _email(reading: Reading, entry: Mapping[str, Any]) -> EmailSettings:
    for name in ("user_env", "password_env"):
        if entry.get(name) is not None:
            _require_variable(reading, ["notify", "email", name], entry[name])
    if (entry.get("user_env") is None) != (entry.get("password_env") is None):
        given = "user_env" if entry.get("user_env") is not None else "password_env"
        raise reading.document.error(
            ["notify", "email", given],
            found=f"only {given}",
            expected="both user_env and password_env, or neither",
        )
    known = {name: value for name, value in entry.items() if name not in {"from", "to"}}
    email = EmailSettings(
        sender=entry["from"], to=tuple(entry["to"]), **typed(EmailSettings, known)
    )
    open_wire = not email.starttls and not email.implicit_tls and email.host not in _LOOPBACK
    if open_wire and email.password_env is not None:
        raise reading.document.error(
            ["notify", "email", "starttls"],
            found="a password for a connection without TLS",
            expected="starttls: true, or port: 465 (TLS from the start)",
        )
    return email


def _require_variable(reading: Reading, place: FieldPath, name: str) -> None:
    if not _VARIABLE.fullmatch(name):
        raise reading.document.error(
            place,
            found=HIDDEN,
            expected="the name of an environment variable, e.g. PLUMBLINE_WEBHOOK",
            remedy="Put the secret into a variable, and the variable's name here",
        )
