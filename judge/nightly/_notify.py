"""Telling people of a night: webhooks and e-mail, with bounded patience and without secrets.

Addresses of webhooks, users and passwords come from environment variables. They appear in no
message, error or log.
"""

from __future__ import annotations

import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from judge.canonical import canonical, digest
from judge.nightly._settings import (
    EmailSettings,
    NotifySettings,
    Webhook,
    WebhookFormat,
    When,
)

if TYPE_CHECKING:
    from email.message import EmailMessage

    import httpx2

_AGAIN = frozenset({408, 425, 429})
"""Answers, beside those from 500 on, after which the same request can succeed."""
_MOST_RETRY_AFTER_S = 20.0
_MOST_SLACK_TEXT = 3000
_MOST_SUBJECT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is told of a night.

    ``decision`` is pass, regress or inconclusive, None while a baseline is being collected.
    ``facts`` is JSON for programs, ``text`` says the same for people, in lines. ``link`` leads to
    the report.
    """

    series: str
    date: str
    decision: str | None
    subject: str
    text: str
    facts: Mapping[str, Any]
    link: str | None = None
    complete: bool = True
    """Whether the night is over; one that was cut short may be completed, and is told again."""

    @property
    def key(self) -> str:
        """What tells a repetition of this message from another one: series, date and decision.

        A night that was cut short has a key of its own: it is told again when it is complete.
        """
        state = "" if self.complete else "/partial"
        return f"{self.series}/{self.date}/{self.decision or 'collecting'}{state}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of a message at one target, which is named without its secret."""

    target: str
    ok: bool
    error: str | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a target is tried: waits double from ``first_wait_s``; all in seconds.

    ``timeout_s`` bounds each step of an attempt, ``total_s`` everything: a target that has not
    taken the message by then is given up.
    """

    attempts: int = 4
    timeout_s: float = 10.0
    first_wait_s: float = 1.0
    total_s: float = 60.0


class _Failure(Exception):
    """An attempt that failed; ``again`` says whether another one may succeed."""

    def __init__(self, words: str, *, again: bool, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.again = again
        self.wait_s = wait_s


def is_due(when: tuple[When, ...], decision: str | None) -> bool:
    """Whether people want to be told of a night with this decision."""
    wanted = {"regress": When.ALARM, "inconclusive": When.INCONCLUSIVE, "pass": When.PASS}
    return When.ALWAYS in when or (decision is not None and wanted[decision] in when)


def send(
    message: Message,
    notify: NotifySettings,
    env: Mapping[str, str],
    patience: Patience | None = None,
    *,
    told: Collection[str] = (),
) -> list[Sent]:
    """Tell all targets, side by side; none if the night is not one that people want to hear of.

    Those named in ``told`` know already and are left out.

    A target that fails does not keep the others from being told, and raises nothing: what became
    of it is in the list, in the order of the settings, webhooks first. Attempts that may succeed
    later (no connection, no answer, status 408, 425, 429 or from 500 on, SMTP codes from 400 to
    499) are repeated; a webhook can recognise them by the header ``Idempotency-Key``, a mail
    program by the Message-ID. Takes at most ``patience.total_s`` seconds, whatever a target does.
    """
    if not is_due(notify.when, message.decision):
        return []
    bounds = patience or Patience()
    targets: list[tuple[str, Callable[[], None]]] = [
        (f"webhook {hook.url_env}", _webhook(message, hook, env, bounds))
        for hook in notify.webhooks
    ]
    if notify.email is not None:
        email = notify.email
        name = f"e-mail to {', '.join(email.to)}"
        targets.append((name, _mail(message, email, env, bounds)))
    until = time.monotonic() + bounds.total_s
    pending = [
        (name, _started(name, attempt, bounds, until))
        for name, attempt in targets
        if name not in told
    ]
    return [_outcome(name, future, bounds, until) for name, future in pending]


def _started(
    name: str, attempt: Callable[[], None], patience: Patience, until: float
) -> Future[Sent]:
    """Try a target in a thread that nobody has to wait for."""
    future: Future[Sent] = Future()

    def work() -> None:
        try:
            future.set_result(_tried(name, attempt, patience, until))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future


def _outcome(name: str, future: Future[Sent], patience: Patience, until: float) -> Sent:
    try:
        return future.result(timeout=max(until - time.monotonic(), 0.0))
    except TimeoutError:
        return Sent(target=name, ok=False, error=f"not done within {patience.total_s:g} seconds")


def _tried(name: str, attempt: Callable[[], None], patience: Patience, until: float) -> Sent:
    """Try until it works, cannot work, or the patience is at its end."""
    for number in range(1, patience.attempts + 1):
        try:
            attempt()
            return Sent(target=name, ok=True, attempts=number)
        except _Failure as failure:
            wait = max(patience.first_wait_s * 2 ** (number - 1), failure.wait_s)
            last = number == patience.attempts or time.monotonic() + wait >= until
            if last or not failure.again:
                return Sent(target=name, ok=False, error=str(failure), attempts=number)
            time.sleep(wait)
    raise AssertionError("at least one attempt is made")


def _webhook(
    message: Message, hook: Webhook, env: Mapping[str, str], patience: Patience
) -> Callable[[], None]:
    """What posts a message once; raises _Failure."""
    body = canonical(payload(message, hook.format))
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": message.key,
        "User-Agent": "plumbline",
    }

    def post() -> None:
        import httpx2

        url = env.get(hook.url_env, "").strip()
        if not url:
            raise _Failure(f"the variable {hook.url_env} is not set", again=False)
        if not url.startswith(("https://", "http://")):
            raise _Failure(f"{hook.url_env} holds no http or https address", again=False)
        try:
            with (
                _unlogged(),
                httpx2.Client(timeout=patience.timeout_s, follow_redirects=False) as client,
                # What the server has to say beyond the status is not waited for.
                client.stream("POST", url, content=body, headers=headers) as response,
            ):
                _require_taken(response)
        except httpx2.TimeoutException:
            raise _Failure(_late(patience), again=True) from None
        except httpx2.InvalidURL:
            raise _Failure(
                f"{hook.url_env} holds no address that can be read", again=False
            ) from None
        except httpx2.HTTPError as error:
            raise _Failure(f"no connection ({_kind(error)})", again=True) from None

    return post


def _require_taken(response: httpx2.Response) -> None:
    status = response.status_code
    if response.is_success:
        return
    if response.is_redirect:
        raise _Failure(f"status {status} (redirects are not followed)", again=False)
    after = response.headers.get("Retry-After", "")
    wait = min(float(after), _MOST_RETRY_AFTER_S) if after.isdecimal() else 0.0
    raise _Failure(f"status {status}", again=status in _AGAIN or status >= 500, wait_s=wait)


def _late(patience: Patience) -> str:
    return f"no answer within {patience.timeout_s:g} seconds"


def _kind(error: BaseException) -> str:
    """What happened to a connection, in the system's words; those of the error can hold secrets."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep the client of this thread from logging the address, at whatever level."""
    import logging

    thread = threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger = logging.getLogger("httpx2")
    logger.addFilter(of_others)
    try:
        yield
    finally:
        logger.removeFilter(of_others)


def payload(message: Message, form: WebhookFormat) -> dict[str, Any]:
    """What is posted to a webhook."""
    if form is WebhookFormat.SLACK:
        return {"text": _slack_text(message)}
    return {
        "series": message.series,
        "date": message.date,
        "decision": message.decision,
        "subject": message.subject,
        "text": message.text,
        "link": message.link,
        "facts": dict(message.facts),
    }


def _slack_text(message: Message) -> str:
    """A message in Slack's markup, in which names of ours cannot mention people or make links."""
    text = message.text
    if len(text) > _MOST_SLACK_TEXT:
        text = f"{text[:_MOST_SLACK_TEXT]}..."
    parts = [f"*{_escaped(_line(message.subject))}*", _escaped(text)]
    if message.link is not None:
        parts.append(_escaped(message.link))
    return "\n".join(parts)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _line(text: str) -> str:
    return " ".join(text.split())[:_MOST_SUBJECT]


def _mail(
    message: Message, email: EmailSettings, env: Mapping[str, str], patience: Patience
) -> Callable[[], None]:
    """What hands a message to the mail server once; raises _Failure."""
    letter = _letter(message, email)

    def hand_over() -> None:
        login = _login(email, env)
        try:
            with _server(email, patience) as server:
                if login is not None:
                    server.login(*login)
                refused = server.send_message(letter, email.sender, list(email.to))
        except smtplib.SMTPNotSupportedError as error:
            # Of ours, and without secrets: what the server lacks.
            raise _Failure(f"{email.host}: {error}", again=False) from None
        except smtplib.SMTPAuthenticationError as error:
            words = f"{email.host} refuses user and password (code {error.smtp_code})"
            raise _Failure(words, again=400 <= error.smtp_code < 500) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = sorted({code for code, _ in error.recipients.values()})
            words = f"{email.host} refuses all recipients ({', '.join(map(str, codes))})"
            raise _Failure(words, again=all(400 <= code < 500 for code in codes)) from None
        except smtplib.SMTPResponseException as error:
            words = f"{email.host} answers with code {error.smtp_code}"
            raise _Failure(words, again=400 <= error.smtp_code < 500) from None
        except TimeoutError:
            raise _Failure(f"{email.host}: {_late(patience)}", again=True) from None
        except ssl.SSLCertVerificationError as error:
            words = f"{email.host}: its certificate is not trusted ({error.verify_message})"
            raise _Failure(words, again=False) from None
        except (OSError, smtplib.SMTPException) as error:
            # The library tells a wait for a reply that was too long as a lost connection.
            late = isinstance(error.__context__, TimeoutError)
            words = _late(patience) if late else f"no connection ({_kind(error)})"
            raise _Failure(f"{email.host}: {words}", again=True) from None
        if refused:
            # The others have it: to try again would tell them twice.
            raise _Failure(f"{email.host} refuses {', '.join(sorted(refused))}", again=False)

    return hand_over


@contextmanager
def _server(email: EmailSettings, patience: Patience) -> Iterator[smtplib.SMTP]:
    """A connection to the mail server, with TLS where it is wanted."""
    context = ssl.create_default_context()
    server = (
        smtplib.SMTP_SSL(email.host, email.port, timeout=patience.timeout_s, context=context)
        if email.implicit_tls
        else smtplib.SMTP(email.host, email.port, timeout=patience.timeout_s)
    )
    try:
        if email.starttls and not email.implicit_tls:
            server.starttls(context=context)
        yield server
        # The server has the message: a farewell that fails must not make us send it again.
        with suppress(OSError, smtplib.SMTPException):
            server.quit()
    finally:
        server.close()


def _login(email: EmailSettings, env: Mapping[str, str]) -> tuple[str, str] | None:
    if email.user_env is None or email.password_env is None:
        return None
    for name in (email.user_env, email.password_env):
        if not env.get(name):
            raise _Failure(f"the variable {name} is not set", again=False)
    return env[email.user_env], env[email.password_env]


def _letter(message: Message, email: EmailSettings) -> EmailMessage:
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import formatdate

    letter = EmailMessage(policy=SMTP)
    letter["Subject"] = _line(message.subject)
    letter["From"] = email.sender
    letter["To"] = ", ".join(email.to)
    letter["Date"] = formatdate()
    # The same for every attempt, so that mail programs show one message.
    letter["Message-ID"] = f"<{digest(['night', message.key]).hex()}@plumbline.invalid>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content("\n\n".join(filter(None, (message.text, message.link))) + "\n")
    return letter
