"""Keys, tokens, passwords, and credentials in addresses."""

from __future__ import annotations

import re

from sft.scrubbing._find import Detector, as_it_is, text_of

_SHAPES = (
    r"sk-ant-[\w-]{20,200}",
    r"sk-(?:proj|svcacct|admin)-[\w-]{20,200}",
    r"sk-or-v1-[0-9a-f]{40,80}",
    r"sk-[A-Za-z0-9]{20,100}",
    r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}",
    r"AIza[\w-]{35}",
    r"ya29\.[\w-]{20,300}",
    r"gh[pousr]_[A-Za-z0-9]{30,255}",
    r"github_pat_[A-Za-z0-9_]{22,255}",
    r"glpat-[\w-]{20,60}",
    r"xox[abeoprs]-[A-Za-z0-9-]{10,250}",
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,250}",
    r"whsec_[A-Za-z0-9+/=]{20,100}",
    r"hf_[A-Za-z0-9]{30,60}",
    r"gsk_[A-Za-z0-9]{40,60}",
    r"xai-[A-Za-z0-9]{40,100}",
    r"r8_[A-Za-z0-9]{30,60}",
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[\w-]{50,250}",
    r"dop_v1_[0-9a-f]{64}",
    r"SG\.[\w-]{16,40}\.[\w-]{16,80}",
    r"[0-9]{8,10}:AA[\w-]{33}",  # of a Telegram bot
    r"eyJ[\w-]{8,2000}\.eyJ[\w-]{8,4000}\.[\w-]{8,2000}",  # JSON Web Token
)
_LABEL = (
    r"(?:password|passwd|passcode|passphrase|pwd|pass|api[ _-]?key"
    r"|secret(?:[ _-]?(?:access[ _-]?)?key)?|access[ _-]?(?:key|token)|auth[ _-]?token"
    r"|client[ _-]?secret|bearer[ _-]?token|token"
    r"|aws[ _-]?secret[ _-]?access[ _-]?key|private[ _-]?key|密码|口令|密钥|令牌|验证码|暗号)"
)
_SAID = r"[\"'`]?[ \t]{0,3}(?:[:=：＝]|=>|is\b|was\b|是|为)[ \t]{0,3}[\"'`]?"
_VALUE = r"(?P<it>[^\s\"'`，。；、,;()（）\[\]{}<>]{6,200}(?<![.!?:]))"

_NO_SECRET = re.compile(
    r"(?i)your|example|change|placeholder|redacted|secret|password|passw|token|x{3,}|\*{3,}|\.{3,}"
    r"|^\$|%|^env|environ|getenv|config|process\.|required|string|none|null|undefined"
)


def _secret(match: re.Match[str]) -> str | None:
    """A value that looks chosen or drawn: letters with digits or signs, no name of a variable."""
    value = text_of(match)
    letters = sum(char.isalpha() for char in value)
    others = sum(not char.isalpha() for char in value)
    return None if not letters or not others or _NO_SECRET.search(value) else value


_NO_CREDENTIALS = re.compile(
    r"(?i)^(?:user(?:name)?|login|name|admin|root|[$<{\[].*):(?:pass(?:word|wd)?|secret|pw|[x*.]+|[$<{\[].*)$"
)


def _credentials(match: re.Match[str]) -> str | None:
    value = text_of(match)
    return None if _NO_CREDENTIALS.match(value) else value


_TELLING = (
    "sk-", "akia", "asia", "aroa", "aida", "aiza", "ya29", "ghp_", "gho_", "ghu_", "ghs_", "ghr_",
    "github_pat", "glpat-", "xox", "k_live_", "k_test_", "whsec_", "hf_", "gsk_", "xai-", "r8_",
    "npm_", "pypi-", "dop_v1", "sg.", ":aa", "eyj",
)  # fmt: skip
"""One of these is in each of the shapes, folded."""

DETECTORS = (
    Detector(
        "key",
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{1,8000}?"
            r"-----END [A-Z ]{0,30}PRIVATE KEY-----"
        ),
        as_it_is,
        ("private key-----",),
    ),
    Detector(
        "key",
        re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(_SHAPES)})(?![A-Za-z0-9_])", re.ASCII),
        as_it_is,
        _TELLING,
    ),
    Detector(
        "url_credentials",
        re.compile(r"(?<=://)(?P<it>[^\s/:@\"'<>\[\]]{1,100}:[^\s/@\"'<>\[\]]{1,200})(?=@)"),
        _credentials,
        ("://",),
    ),
    Detector(
        "key",
        re.compile(rf"(?i)(?<![A-Za-z]){_LABEL}{_SAID}{_VALUE}"),
        _secret,
        ("pass", "pwd", "secret", "key", "token", "密码", "口令", "密钥", "令牌", "验证码", "暗号"),
    ),
    Detector(
        "key",
        re.compile(
            r"(?i)\bauthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:bearer|basic)\s{1,3}(?P<it>[\w.~+/=-]{16,2000})"
        ),
        as_it_is,
        ("authorization",),
    ),
)
