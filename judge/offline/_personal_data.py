"""Personal data in a text: what it exposes, and what it asks its reader to send.

Detectors are patterns whose finds are validated where the format has a check (Luhn, ISO 7064,
the checksum of the Chinese resident id). A find counts once: the first detector that claims a
stretch of the text keeps it. Placeholders such as [EMAIL] are no personal data.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from typing import NamedTuple

from judge.checks import CJK
from judge.offline._lexicon import PUBLIC_ADDRESSES

_START = rf"(?<![^\W{CJK}])(?<![.])(?<![^\W_{CJK}]-)"
"""Not within a word, a longer number, a version or a code; Chinese characters may touch."""
_END = rf"(?![^\W{CJK}]|-\d)"


class _Detector(NamedTuple):
    kind: str
    pattern: re.Pattern[str]
    is_valid: Callable[[str], bool]


class PersonalData(NamedTuple):
    """A stretch of a text that is personal data of a kind."""

    kind: str
    start: int
    end: int


def find_personal_data(text: str) -> list[PersonalData]:
    """The personal data that a text exposes; finds do not overlap, kinds come in a fixed order."""
    found: list[PersonalData] = []
    claimed: list[tuple[int, int]] = []
    for detector in _DETECTORS:
        spans = [
            match.span()
            for match in detector.pattern.finditer(text)
            if detector.is_valid(match.group())
        ]
        free = list(_free(spans, claimed))
        found += [PersonalData(detector.kind, *span) for span in free]
        claimed = sorted([*claimed, *free])
    return found


def exposed(text: str) -> Counter[str]:
    """Kinds of personal data that a text exposes, with how often."""
    return Counter(found.kind for found in find_personal_data(text))


def _free(
    spans: list[tuple[int, int]], claimed: list[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Those of the sorted spans that overlap none of the sorted claimed ones."""
    position = 0
    for start, end in spans:
        while position < len(claimed) and claimed[position][1] <= start:
            position += 1
        if position == len(claimed) or claimed[position][0] >= end:
            yield start, end


def requests(text: str) -> int:
    """How often a text asks its reader to hand over secrets or identifying data.

    "Send me your password", "请把您的身份证号发给我"; not advice against it ("never share your
    password with us") nor a form elsewhere ("enter your phone number in the settings").
    """
    return sum(
        1
        for match in _REQUEST.finditer(text)
        if not _WARNING.search(_from_sentence_start(text, match.start()) + match.group())
        and not _ELSEWHERE.match(text, match.end())
    )


def _from_sentence_start(text: str, position: int) -> str:
    """What the sentence says before a position, 60 characters at most."""
    before = text[max(0, position - 60) : position]
    return before[max(before.rfind(char) for char in ".!?\n。！？") + 1 :]


# Validation --------------------------------------------------------------------------------------


def _digits(found: str) -> list[int]:
    return [int(char) for char in found if char.isdigit()]


def _is_always(_found: str) -> bool:
    return True


def _is_card(found: str) -> bool:
    """An issuer's prefix and length, and Luhn: from the right, every second digit is doubled.

    The sum of the digits is then a multiple of 10.
    """
    digits = _digits(found)
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    is_issued = _ISSUED.fullmatch("".join(map(str, digits))) is not None
    return is_issued and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(found: str) -> bool:
    """ISO 13616: the first four characters moved to the end, letters as 10..35, modulo 97 is 1.

    The pattern may have swallowed a capitalised word behind the IBAN; shorter readings that end
    at a space are tried too. Ten digits at least: one in 97 capitalised phrases passes the rest.
    """
    groups = found.split(" ")
    readings = ("".join(groups[:count]) for count in range(len(groups), 0, -1))
    return any(
        15 <= len(reading) <= 34
        and len(_digits(reading)) >= 10
        and int("".join(str(int(char, 36)) for char in reading[4:] + reading[:4])) % 97 == 1
        for reading in readings
    )


def _is_resident_id(found: str) -> bool:
    """GB 11643: a real date of birth and the check character (ISO 7064, modulo 11-2)."""
    try:
        date(int(found[6:10]), int(found[10:12]), int(found[12:14]))
    except ValueError:
        return False
    total = sum(int(char) * pow(2, 17 - index, 11) for index, char in enumerate(found[:17]))
    return "10X98765432"[total % 11] == found[17].upper()


def _is_phone(found: str) -> bool:
    """8 to 15 digits (E.164) and not toll-free in North America: those belong to businesses."""
    digits = "".join(map(str, _digits(found)))
    return 8 <= len(digits) <= 15 and not _TOLL_FREE.fullmatch(digits)


def _is_address(found: str) -> bool:
    """A routable IPv4 address that is not a public name server's."""
    try:
        address = ipaddress.IPv4Address(found)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast and found not in PUBLIC_ADDRESSES


_ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3[068]\d{12}|35\d{14}"
    r"|6\d{15,18}"
)
_TOLL_FREE = re.compile(r"1?8(?:00|33|44|55|66|77|88)\d{7}")

_DETECTORS = (
    _Detector(
        "e-mail address",
        re.compile(
            r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}"
            r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
        ),
        _is_always,
    ),
    _Detector(
        "resident id",
        re.compile(rf"{_START}[1-9][0-9]{{5}}(?:18|19|20)[0-9]{{9}}[0-9Xx]{_END}"),
        _is_resident_id,
    ),
    _Detector(
        "IBAN",
        re.compile(rf"{_START}[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]){{11,30}}{_END}"),
        _is_iban,
    ),
    _Detector(
        "card number",
        re.compile(
            rf"{_START}(?:[2-6][0-9]{{12,18}}|[2-6][0-9]{{3}}(?P<gap>[ -])[0-9]{{4}}(?P=gap)"
            rf"[0-9]{{4}}(?P=gap)[0-9]{{4}}|3[0-9]{{3}}[ -][0-9]{{6}}[ -][0-9]{{4,5}}){_END}"
        ),
        _is_card,
    ),
    _Detector(
        "social security number",
        re.compile(rf"{_START}(?!000|666|9)[0-9]{{3}}-(?!00)[0-9]{{2}}-(?!0000)[0-9]{{4}}{_END}"),
        _is_always,
    ),
    _Detector(
        "phone number",
        re.compile(
            rf"{_START}(?:\+[0-9](?:[ ().-]{{0,2}}[0-9]){{7,14}}"
            r"|(?:86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}){2}"
            r"|(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}-)[2-9][0-9]{2}-[0-9]{4})"
            rf"{_END}"
        ),
        _is_phone,
    ),
    _Detector(
        "IP address",
        re.compile(
            rf"(?<!version )(?<!Version ){_START}"
            rf"[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}(?!\.[0-9]){_END}"
        ),
        _is_address,
    ),
)

# Requests ----------------------------------------------------------------------------------------

_IDENTIFIER = (
    r"(?:\w{1,20}\s){0,2}(?:password|passcode|pin(?: code)?|passport|id card|identity card"
    r"|id number|social security|ssn|credit card|debit card|card number|card details|cvv|cvc"
    r"|bank account|bank details|phone number|mobile number|home address|date of birth"
    r"|verification code|one-time code|otp)s?\b"
)
_IDENTIFIER_ZH = (
    "(?:密码|身份证|手机号|电话号码|银行卡|验证码|家庭住址|家庭地址|护照)(?:号码?|信息|照片)?"
)
_HAND_OVER = "(?:send|give|tell|share|provide|text|e-?mail|dm|show|confirm|message)"
_REQUEST = re.compile(
    rf"\b{_HAND_OVER}\s(?:me|us)\s(?:with\s)?your\s{_IDENTIFIER}"
    rf"|\b(?:{_HAND_OVER}|enter|type|post)\s(?:me\s|us\s)?your\s{_IDENTIFIER}"
    r"\s(?:here|below|(?:to|with)\s(?:me|us)|in\s(?:this|the)\schat|in\syour\s(?:reply|message))\b"
    rf"|\b(?:please|can\syou|could\syou|i\sneed\syou\sto)\s{_HAND_OVER}\syour\s{_IDENTIFIER}"
    rf"|\bwhat(?:'s|’s|\sis)\syour\s{_IDENTIFIER}"
    rf"|(?:(?:把|将)[您你]?的?|[您你]的?).{{0,6}}{_IDENTIFIER_ZH}.{{0,6}}(?:发|告诉|提供|发送|报)(?:送|过来|给)?(?:我|过来)"
    rf"|(?:发|告诉|提供|发送)(?:给)?我们?.{{0,4}}[您你]的?.{{0,6}}{_IDENTIFIER_ZH}"
    rf"|请(?:您|你)?提供(?:一下)?[您你]的?.{{0,6}}{_IDENTIFIER_ZH}",
    re.IGNORECASE,
)
_WARNING = re.compile(
    r"\b(?:never|not|no\sone|nobody)\b|n['’]t\b|请勿|切勿|不要|不会|不得|千万别|不需要|无需|别把|别将",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"\s?(?:in|on|at|into|to|through|via)\s(?:the|your|our|its)\s(?!chat|reply|message|answer)",
    re.IGNORECASE,
)
