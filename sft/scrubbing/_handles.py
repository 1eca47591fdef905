"""Addresses of mail, and the names that people go by on the net."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from sft.scrubbing._find import Detector, found, text_of

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,6}[A-Za-z]{2,24}"
_RESERVED = re.compile(
    r"(?i)(?:^|[@.])(?:example\.(?:com|org|net|edu|cn)"
    r"|(?:[a-z0-9-]+\.)*(?:example|test|invalid|localhost|local))$"
)
"""Domains that are nobody's (RFC 2606)."""
_AT, _DOT = (re.compile(rf"(?i)[ ]?[\[({{]{word}[\])}}][ ]?") for word in ("at", "dot"))
_FILES = re.compile(r"(?i)\.(?:png|jpe?g|gif|svg|webp|css|js|ts|json|md|py|html?|zip|pdf)$")


@cache
def _words(kind: str) -> frozenset[str]:
    """Words of a kind that are no one's name."""
    from ruamel.yaml import YAML

    return frozenset(YAML(typ="safe").load(Path(__file__).with_name("words.yaml"))[kind])


def _mail(match: re.Match[str]) -> str | None:
    value = text_of(match).lower()
    name, _, host = value.rpartition("@")
    return None if name == "git" or _RESERVED.search(host) or _FILES.search(host) else value


def _spelt_mail(match: re.Match[str]) -> str | None:
    """``name [at] host [dot] org``."""
    value = _AT.sub("@", _DOT.sub(".", match[0])).lower()
    return None if _RESERVED.search(value) else value


def _at(match: re.Match[str]) -> str | None:
    """A handle in prose; no decorator, no package's scope, no rule of a style sheet."""
    value = text_of(match).rstrip(".")
    start, end = found(match)
    line_start = match.string.rfind("\n", 0, start) + 1
    line_end = match.string.find("\n", end)
    rest = match.string[end : line_end if line_end >= 0 else None].strip()
    is_alone = not match.string[line_start : start - 1].strip() and (not rest or rest[0] in "({")
    many = "\n" in match.string
    if (
        value.lower() in _words("no_handles")
        or (is_alone and many)
        or _in_code(match.string, start)
    ):
        return None
    return value.lower()


def _in_code(text: str, place: int) -> bool:
    """Whether a place is within a code fence, or within backticks on its line."""
    if text.count("```", 0, place) % 2:
        return True
    return text.count("`", text.rfind("\n", 0, place) + 1, place) % 2 == 1


def _profile(match: re.Match[str]) -> str | None:
    value = text_of(match)
    return None if value.lower() in _words("no_profiles") else value.lower()


def _labelled(match: re.Match[str]) -> str | None:
    value = text_of(match).rstrip(".-")
    folded = value.lower()
    if folded in _words("no_usernames") or folded.startswith(("your", "example", "user_name")):
        return None
    is_weak = match["link"].strip().lower() in {"is", "was", "是", "为", ""}
    return None if is_weak and value.isalpha() else folded


_SITES = (
    r"(?:github\.com|gitlab\.com|twitter\.com|x\.com|instagram\.com|facebook\.com|threads\.net/@"
    r"|linkedin\.com/in|weibo\.com(?:/u|/n)?|t\.me|tiktok\.com/@|medium\.com/@|youtube\.com/@"
    r"|reddit\.com/u(?:ser)?|zhihu\.com/people|pinterest\.com|twitch\.tv|space\.bilibili\.com"
    r"|huggingface\.co|stackoverflow\.com/users/[0-9]{1,10})"
)

DETECTORS = (
    Detector(
        "email",
        re.compile(
            rf"(?<![A-Za-z0-9._%+'-])[A-Za-z0-9](?:[A-Za-z0-9._%+'-]{{0,62}}[A-Za-z0-9_+-])?"
            rf"@{_HOST}(?![A-Za-z0-9-])"
        ),
        _mail,
        ("@",),
    ),
    Detector(
        "email",
        re.compile(
            r"(?i)(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}"
            r"[ ]?[\[({]at[\])}][ ]?[A-Za-z0-9-]{1,63}"
            r"(?:(?:[ ]?[\[({]dot[\])}][ ]?|\.)[A-Za-z0-9-]{1,63}){0,4}"
            r"(?:[ ]?[\[({]dot[\])}][ ]?|\.)[A-Za-z]{2,24}(?![A-Za-z0-9])"
        ),
        _spelt_mail,
        ("[at]", "(at)", "{at}"),
    ),
    Detector(
        "username",
        re.compile(
            rf"(?i)(?:\b|//(?:www\.)?){_SITES}/?"
            r"(?P<it>(?<=[/@])[A-Za-z0-9][A-Za-z0-9_.-]{1,38}[A-Za-z0-9_])"
            r"(?![A-Za-z0-9_.-]*/[A-Za-z0-9])"
        ),
        _profile,
        (".com/", ".me/", ".tv/", ".co/", ".net/"),
    ),
    Detector(
        "username",
        re.compile(r"(?<![A-Za-z0-9/])/?u/(?P<it>[A-Za-z0-9_-]{3,20})(?![A-Za-z0-9_/-])"),
        _profile,
        ("u/",),
    ),
    Detector(
        "username",
        re.compile(
            r"(?i)(?:(?<![A-Za-z_.])(?:user[ _-]?(?:name|id)|login(?:[ _-]?name)?"
            r"|account[ _-]?name|screen[ _-]?name|nick(?:name)?|handle|telegram|skype"
            r"|wechat(?:[ _-]?id)?|discord)|用户名|用户ID|账号|帐号|账户名|昵称|微信号?|QQ号?|网名)"
            r"[\"']?[ \t]{0,2}(?P<link>[:：=]|is\b|was\b|是|为)[ \t]{0,2}[\"'@]{0,2}"
            r"(?P<it>[A-Za-z0-9][A-Za-z0-9_.-]{2,31})(?![A-Za-z0-9@(])"
        ),
        _labelled,
        (
            "user",
            "login",
            "name",
            "handle",
            "telegram",
            "skype",
            "wechat",
            "discord",
            "用户",
            "账号",
            "帐号",
            "账户",
            "昵称",
            "微信",
            "qq",
            "网名",
        ),
    ),
    Detector(
        "username",
        re.compile(
            r"(?<![A-Za-z0-9_.@/+-])@(?P<it>[A-Za-z][A-Za-z0-9_.]{2,29})(?![A-Za-z0-9_/@-])"
        ),
        _at,
        ("@",),
    ),
)
