"""Telling people of a night: real servers that take, refuse, fail and hang; nothing leaks."""

from __future__ import annotations

import asyncio
import logging
import shutil
import smtplib
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from judge.nightly._notify import Message, Patience, is_due, payload, send
from judge.nightly._settings import EmailSettings, NotifySettings, Webhook, WebhookFormat, When

SECRET = "T0p5ecret"
QUICK = Patience(attempts=3, timeout_s=0.5, first_wait_s=0.01, total_s=10.0)
MESSAGE = Message(
    series="support-bot",
    date="2026-03-01",
    decision="regress",
    subject="support-bot got worse on 2026-03-01",
    text="Accuracy fell by 0.06 (margin 0.02).\nThe model moved, not the judge.",
    facts={"metrics": {"accuracy": -0.06}, "cause": "model"},
    link="https://example.org/nights/2026-03-01.html?a=1&b=2",
)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@dataclass
class Hook:
    """A server that answers with the given statuses in turn; the last one again and again."""

    statuses: list[int]
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/services/{SECRET}?token={SECRET}"


@contextmanager
def hook_server(*statuses: int, delay_s: float = 0.0, **headers: str) -> Iterator[Hook]:
    hook = Hook(list(statuses), headers, delay_s)
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.requests.append((self.path, dict(self.headers), body))
            ended.wait(hook.delay_s)
            status = hook.statuses.pop(0) if len(hook.statuses) > 1 else hook.statuses[0]
            self.send_response(status)
            for name, value in hook.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that went away

    server = Server(("127.0.0.1", 0), Handler)
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hook
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def hooked(form: WebhookFormat = WebhookFormat.JSON) -> NotifySettings:
    return NotifySettings(webhooks=(Webhook(url_env="HOOK", format=form),))


def test_a_webhook_gets_the_message_once_with_a_key() -> None:
    with hook_server(204) as hook:
        (sent,) = send(MESSAGE, hooked(), {"HOOK": f" {hook.url}\n"}, QUICK)
    assert (sent.target, sent.ok, sent.error, sent.attempts) == ("webhook HOOK", True, None, 1)
    ((path, headers, body),) = hook.requests
    assert path == f"/services/{SECRET}?token={SECRET}"
    assert headers["Idempotency-Key"] == "support-bot/2026-03-01/regress"
    assert headers["Content-Type"] == "application/json"
    assert orjson.loads(body) == {
        "series": "support-bot",
        "date": "2026-03-01",
        "decision": "regress",
        "subject": MESSAGE.subject,
        "text": MESSAGE.text,
        "link": MESSAGE.link,
        "facts": {"metrics": {"accuracy": -0.06}, "cause": "model"},
    }


def test_slack_gets_text_in_which_names_cannot_mention_anyone() -> None:
    wicked = Message(
        series="s", date="2026-03-01", decision="regress", subject="a\nb", facts={},
        text="<!channel> & <https://evil.example|here>", link=None,
    )  # fmt: skip
    assert payload(wicked, WebhookFormat.SLACK) == {
        "text": "*a b*\n&lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;"
    }
    with hook_server(200) as hook:
        (sent,) = send(MESSAGE, hooked(WebhookFormat.SLACK), {"HOOK": hook.url}, QUICK)
    assert sent.ok
    assert orjson.loads(hook.requests[0][2]) == {
        "text": f"*{MESSAGE.subject}*\n{MESSAGE.text}\n"
        "https://example.org/nights/2026-03-01.html?a=1&amp;b=2"
    }


@pytest.mark.parametrize(
    ("statuses", "ok", "attempts", "error"),
    [
        ((500, 503, 200), True, 3, None),
        ((429, 200), True, 2, None),
        ((408, 200), True, 2, None),
        ((500,), False, 3, "status 500"),
        ((404,), False, 1, "status 404"),
        ((400, 200), False, 1, "status 400"),
        ((302, 200), False, 1, "status 302 (redirects are not followed)"),
    ],
)
def test_what_may_pass_is_tried_again_and_what_cannot_is_not(
    statuses: tuple[int, ...], ok: bool, attempts: int, error: str | None
) -> None:
    with hook_server(*statuses, Location="http://127.0.0.1:1/elsewhere") as hook:
        (sent,) = send(MESSAGE, hooked(), {"HOOK": hook.url}, QUICK)
    assert (sent.ok, sent.attempts, sent.error) == (ok, attempts, error)
    assert len(hook.requests) == attempts
    keys = {headers["Idempotency-Key"] for _, headers, _ in hook.requests}
    assert keys == {"support-bot/2026-03-01/regress"}


def test_a_server_may_ask_for_patience() -> None:
    with hook_server(429, 200, Retry_After="1") as hook:
        start = time.monotonic()
        (sent,) = send(MESSAGE, hooked(), {"HOOK": hook.url}, QUICK)
    assert sent.ok
    assert time.monotonic() - start >= 1.0  # far more than the first wait of 0.01 s


def test_patience_that_would_not_suffice_is_not_spent() -> None:
    with hook_server(429, 200, Retry_After="3600") as hook:
        (sent,) = send(
            MESSAGE, hooked(), {"HOOK": hook.url}, Patience(first_wait_s=0.01, total_s=5.0)
        )
    assert (sent.ok, sent.attempts, sent.error) == (False, 1, "status 429")


def test_a_server_that_hangs_is_given_up() -> None:
    with hook_server(200, delay_s=30.0) as hook:
        (sent,) = send(MESSAGE, hooked(), {"HOOK": hook.url}, QUICK)
    assert (sent.ok, sent.attempts, sent.error) == (False, 3, "no answer within 0.5 seconds")


def test_a_server_that_trickles_cannot_hold_the_night_up() -> None:
    """Each byte comes within the time limit of a step, and the answer never ends."""
    ended = threading.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        try:
            while not ended.is_set() and not writer.is_closing():
                writer.write(b"x")
                await asyncio.sleep(0.05)
        finally:
            writer.transport.abort()

    with loop_server(trickle) as port, hook_server(200) as other:
        notify = NotifySettings(webhooks=(Webhook(url_env="SLOW"), Webhook(url_env="HOOK")))
        env = {"SLOW": f"http://127.0.0.1:{port}/", "HOOK": other.url}
        patience = Patience(attempts=1, timeout_s=0.5, total_s=1.5)
        slow, quick = send(MESSAGE, notify, env, patience)
        ended.set()
    assert (slow.ok, slow.error) == (False, "not done within 1.5 seconds")
    assert quick.ok  # the one does not keep the other from being told


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, "the variable HOOK is not set"),
        ("  ", "the variable HOOK is not set"),
        (f"ftp://example.org/{SECRET}", "HOOK holds no http or https address"),
        (f"http://host:{SECRET}/", "HOOK holds no address that can be read"),
        (f"http://127.0.0.1:1/{SECRET}", "no connection (Connection refused)"),
        (f"http://nowhere.invalid/{SECRET}", "no connection ("),
    ],
)
def test_an_address_that_leads_nowhere_is_an_error_without_the_address(
    value: str | None, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    env = {} if value is None else {"HOOK": value}
    with caplog.at_level(logging.DEBUG):
        (sent,) = send(MESSAGE, hooked(), env, QUICK)
    assert not sent.ok
    assert sent.error is not None
    assert sent.error.startswith(error)
    assert SECRET not in repr(sent) + caplog.text


def test_addresses_and_passwords_reach_no_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        hook_server(500) as hook,
        mail_server(auth=("me", "other")) as post,
    ):
        notify = NotifySettings(
            webhooks=hooked().webhooks,
            email=letterbox(post.port, user_env="USER_NAME", password_env="PASSWORD"),
        )
        env = {"HOOK": hook.url, "USER_NAME": "me", "PASSWORD": SECRET}
        sent = send(MESSAGE, notify, env, QUICK)
    assert [one.ok for one in sent] == [False, False]
    printed = capfd.readouterr()
    assert SECRET not in repr(sent) + caplog.text + printed.out + printed.err


def test_the_client_may_log_again_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    with hook_server(200) as hook:
        send(MESSAGE, hooked(), {"HOOK": hook.url}, QUICK)
    with caplog.at_level(logging.INFO):
        logging.getLogger("httpx2").info("of somebody else")
    assert "of somebody else" in caplog.text


@pytest.mark.parametrize(
    ("when", "decision", "due"),
    [
        ((When.ALARM, When.INCONCLUSIVE), "regress", True),
        ((When.ALARM, When.INCONCLUSIVE), "inconclusive", True),
        ((When.ALARM, When.INCONCLUSIVE), "pass", False),
        ((When.ALARM, When.INCONCLUSIVE), None, False),
        ((When.PASS,), "pass", True),
        ((When.PASS,), "regress", False),
        ((When.ALWAYS,), None, True),
        ((When.ALWAYS,), "pass", True),
        ((), "regress", False),
    ],
)
def test_people_choose_the_nights(when: tuple[When, ...], decision: str | None, due: bool) -> None:
    assert is_due(when, decision) is due


def test_of_other_nights_nobody_is_told() -> None:
    quiet = Message(
        series="s", date="2026-03-01", decision="pass", subject="s", text="t", facts={}, link=None
    )
    assert send(quiet, hooked(), {}, QUICK) == []


# Mail


@dataclass
class Post:
    """A mail server as it is scripted, and the letters that it took."""

    port: int = 0
    auth: tuple[str, str] | None = None
    refused: tuple[str, ...] = ()
    busy: int = 0
    """Letters that are first answered with 451."""
    code: int = 451
    hang: bool = False
    farewell: bytes | None = b"221 bye\r\n"
    tls: ssl.SSLContext | None = None
    letters: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)


async def converse(post: Post, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Enough of SMTP (RFC 5321) for one client."""

    async def say(line: bytes) -> None:
        writer.write(line)
        await writer.drain()

    sender, to, encrypted, known = "", list[str](), False, post.auth is None
    if post.hang:
        await reader.read()
        return
    await say(b"220 test ready\r\n")
    while line := await reader.readline():
        post.commands.append(line)
        verb = line.strip().upper()
        if verb.startswith((b"EHLO", b"HELO")):
            await say(b"250-test\r\n")
            if post.tls is not None and not encrypted:
                await say(b"250-STARTTLS\r\n")
            if post.auth is not None:
                await say(b"250-AUTH PLAIN\r\n")
            await say(b"250 OK\r\n")
        elif verb == b"STARTTLS" and post.tls is not None:
            await say(b"220 go\r\n")
            await writer.start_tls(post.tls)
            encrypted = True
        elif verb.startswith(b"AUTH PLAIN") and post.auth is not None:
            import base64

            _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
            known = (user, password) == post.auth
            await say(b"235 ok\r\n" if known else b"535 no\r\n")
        elif verb.startswith(b"MAIL FROM:"):
            sender, to = line.decode().split("<")[1].split(">")[0], []
            await say(b"250 ok\r\n" if known else b"530 first AUTH\r\n")
        elif verb.startswith(b"RCPT TO:"):
            address = line.decode().split("<")[1].split(">")[0]
            if address in post.refused:
                await say(b"550 nobody\r\n")
            else:
                to.append(address)
                await say(b"250 ok\r\n")
        elif verb == b"DATA":
            await say(b"354 go\r\n")
            body = b""
            while (part := await reader.readline()) != b".\r\n":
                body += part.removeprefix(b".") if part.startswith(b"..") else part
            if post.busy:
                post.busy -= 1
                await say(f"{post.code} not now\r\n".encode())
                continue
            letter = message_from_bytes(body, policy=policy.default)
            assert isinstance(letter, EmailMessage)
            post.letters.append((sender, to, letter))
            post.encrypted.append(encrypted)
            await say(b"250 taken\r\n")
        elif verb == b"QUIT":
            if post.farewell is None:
                break
            await say(post.farewell)
            break
        else:
            await say(b"250 ok\r\n")


@contextmanager
def loop_server(talk: object) -> Iterator[int]:
    """A server on a free port, in a thread with a loop of its own."""
    ready: list[int] = []
    started, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)  # type: ignore[arg-type]
        ready.append(server.sockets[0].getsockname()[1])
        started.set()
        await stop.wait()
        server.close()
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.05)  # transports close in the next rounds of the loop

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(20)
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def mail_server(**settings: object) -> Iterator[Post]:
    post = Post(**settings)  # type: ignore[arg-type]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(post, reader, writer)
        except (ConnectionError, ssl.SSLError):
            pass  # the client went away
        finally:
            writer.transport.abort()

    with loop_server(talk) as port:
        post.port = port
        yield post


def letterbox(port: int, **changes: object) -> EmailSettings:
    fields: dict[str, object] = {
        "host": "127.0.0.1",
        "port": port,
        "starttls": False,
        "sender": "nights@example.org",
        "to": ("ann@example.org", "ben@example.org"),
    }
    return EmailSettings(**{**fields, **changes})  # type: ignore[arg-type]


def posted(post: Post, env: dict[str, str] | None = None, **changes: object):  # type: ignore[no-untyped-def]
    (sent,) = send(MESSAGE, NotifySettings(email=letterbox(post.port, **changes)), env or {}, QUICK)
    return sent


def content(letter: EmailMessage) -> str:
    return str(letter.get_content()).replace("\r\n", "\n")


def test_a_letter_arrives_with_its_headers_and_text() -> None:
    with mail_server() as post:
        sent = posted(post)
    assert (sent.ok, sent.error, sent.attempts) == (True, None, 1)
    assert sent.target == "e-mail to ann@example.org, ben@example.org"
    ((sender, to, letter),) = post.letters
    assert (sender, to) == ("nights@example.org", ["ann@example.org", "ben@example.org"])
    assert letter["Subject"] == MESSAGE.subject
    assert letter["To"] == "ann@example.org, ben@example.org"
    assert content(letter) == f"{MESSAGE.text}\n\n{MESSAGE.link}\n"


def test_a_subject_cannot_add_headers_and_may_be_chinese() -> None:
    wicked = Message(
        series="s", date="2026-03-01", decision="regress",
        subject="下降\r\nBcc: everyone@example.org", text="准确性\n.\nlast", facts={},
    )  # fmt: skip
    with mail_server() as post:
        (sent,) = send(wicked, NotifySettings(email=letterbox(post.port)), {}, QUICK)
    assert sent.ok
    ((_, to, letter),) = post.letters
    assert len(to) == 2
    assert letter["Bcc"] is None
    assert letter["Subject"] == "下降 Bcc: everyone@example.org"
    assert content(letter) == "准确性\n.\nlast\n"  # a lone dot does not end the letter


def test_user_and_password_come_from_the_surroundings() -> None:
    with mail_server(auth=("me", SECRET)) as post:
        names = {"user_env": "USER_NAME", "password_env": "PASSWORD"}
        right = posted(post, {"USER_NAME": "me", "PASSWORD": SECRET}, **names)
        wrong = posted(post, {"USER_NAME": "me", "PASSWORD": "guess"}, **names)
        unset = posted(post, {"USER_NAME": "me"}, **names)
    assert right.ok
    assert (wrong.ok, wrong.attempts) == (False, 1)
    assert wrong.error == "127.0.0.1 refuses user and password (code 535)"
    assert unset.error == "the variable PASSWORD is not set"
    assert len(post.letters) == 1


def test_a_busy_mail_server_is_asked_again_and_one_that_refuses_is_not() -> None:
    with mail_server(busy=1) as post:
        sent = posted(post)
        assert (sent.ok, sent.attempts) == (True, 2)
    with mail_server(busy=9, code=554) as post:
        sent = posted(post)
        assert (sent.ok, sent.attempts) == (False, 1)
        assert sent.error == "127.0.0.1 answers with code 554"
    assert post.letters == []


def test_recipients_that_are_refused_are_named_and_the_others_told_once() -> None:
    with mail_server(refused=("ben@example.org",)) as post:
        sent = posted(post)
    assert (sent.ok, sent.attempts) == (False, 1)
    assert sent.error == "127.0.0.1 refuses ben@example.org"
    assert [to for _, to, _ in post.letters] == [["ann@example.org"]]
    with mail_server(refused=("ann@example.org", "ben@example.org")) as post:
        sent = posted(post)
    assert sent.error == "127.0.0.1 refuses all recipients (550)"


@pytest.mark.parametrize("farewell", [b"500 rude\r\n", None])
def test_a_letter_that_was_taken_is_not_sent_again_for_a_rude_farewell(
    farewell: bytes | None,
) -> None:
    with mail_server(farewell=farewell) as post:
        sent = posted(post)
    assert (sent.ok, sent.attempts) == (True, 1)
    assert len(post.letters) == 1


def test_a_mail_server_that_hangs_or_is_not_there_is_given_up() -> None:
    with mail_server(hang=True) as post:
        sent = posted(post)
    assert (sent.ok, sent.attempts) == (False, 3)
    assert sent.error == "127.0.0.1: no answer within 0.5 seconds"
    gone = posted(post)
    assert (gone.ok, gone.attempts) == (False, 3)
    assert gone.error == "127.0.0.1: no connection (Connection refused)"


def test_nothing_goes_out_in_the_clear_where_tls_is_wanted() -> None:
    with mail_server(auth=("me", SECRET)) as post:
        sent = posted(
            post,
            {"USER_NAME": "me", "PASSWORD": SECRET},
            starttls=True,
            user_env="USER_NAME",
            password_env="PASSWORD",
        )
    assert (sent.ok, sent.attempts) == (False, 1)
    assert sent.error is not None
    assert "STARTTLS" in sent.error
    assert not any(line.upper().startswith((b"AUTH", b"MAIL")) for line in post.commands)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


def test_starttls_encrypts_and_certificates_are_checked(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with mail_server(tls=context) as post:
        doubtful = posted(post, starttls=True)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        trusted = posted(post, starttls=True)
    assert (doubtful.ok, doubtful.attempts) == (False, 1)
    assert doubtful.error is not None
    assert "certificate is not trusted" in doubtful.error
    assert trusted.ok
    assert post.encrypted == [True]


def test_port_465_speaks_tls_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, int]] = []

    class Refusing(smtplib.SMTP_SSL):
        def __init__(self, host: str, port: int, **_: object) -> None:
            opened.append((host, port))
            raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(smtplib, "SMTP_SSL", Refusing)
    post = Post(port=465)
    sent = posted(post)
    assert opened == [("127.0.0.1", 465)] * 3
    assert sent.error == "127.0.0.1: no connection (Connection refused)"
