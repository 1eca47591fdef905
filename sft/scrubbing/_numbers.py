"""Numbers that name a person or an account: cards, IBANs, ids, phones, addresses of machines.

A format's own check decides (Luhn, ISO 7064, ISO 13616, Verhoeff, national rules, through
python-stdnum; the numbering plans of phonenumbers). Where a check is weak, a word before the number
has to say what it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import date
from functools import partial
from importlib import import_module

from sft.scrubbing._find import END, START, Detector, before, digits_of, text_of

_LONG = re.compile(r"[0-9](?:[ ./+-]?[0-9]){6}|[A-Z]{4,6}[0-9]{2}|[0-9]{6}[-+A][0-9]{3}")
"""What ids and cards have: seven digits, or the letters that some ids begin with."""


def _card(match: re.Match[str]) -> str | None:
    """An issuer's prefix and length, and Luhn."""
    from stdnum import luhn

    number = digits_of(text_of(match))
    return number if _ISSUED.fullmatch(number) and luhn.is_valid(number) else None


_ISSUED = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    r"|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}|3(?:0[0-5]|[689][0-9])[0-9]{11}|35[0-9]{14}"  # Amex, Diners, JCB
    r"|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12}|62[0-9]{14,17}|(?:50|5[6-9]|6[0-9])[0-9]{14}"
    r"|220[0-4][0-9]{12}"  # Mir
)


def _iban(match: re.Match[str]) -> str | None:
    from stdnum import iban

    value = re.sub(r"[ -]", "", text_of(match)).upper()
    return value if iban.is_valid(value, check_country=False) else None


def _address(match: re.Match[str]) -> str | None:
    """A routable IPv4 address; not a version, and not a public name server's."""
    if re.search(r"(?:version|release|build|\bv|版本)[ .:=]{0,2}$", before(match, 12)):
        return None
    value = text_of(match)
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        return None
    is_nobodys = not address.is_global or address.is_multicast or value in _NAME_SERVERS
    looks_like_version = all(part < 20 for part in address.packed)
    return None if is_nobodys or looks_like_version or value.endswith(".0") else value


def _address6(match: re.Match[str]) -> str | None:
    try:
        address = ipaddress.IPv6Address(text_of(match))
    except ValueError:
        return None
    is_someones = address in _GLOBAL_UNICAST and address.is_global
    return str(address) if is_someones and str(address) not in _NAME_SERVERS else None


_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAME_SERVERS = frozenset(
    {
        "8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "208.67.222.222", "208.67.220.220",
        "114.114.114.114", "114.114.115.115", "223.5.5.5", "223.6.6.6", "119.29.29.29",
        "180.76.76.76", "4.2.2.1", "4.2.2.2", "2001:4860:4860::8888", "2001:4860:4860::8844",
        "2606:4700:4700::1111", "2606:4700:4700::1001", "2620:fe::fe",
    }
)  # fmt: skip


def _national(module: str, words: str, match: re.Match[str]) -> str | None:
    """An id that its country's rules accept; ``words`` have to stand before it if there are any."""
    if words and not re.search(words, before(match)):
        return None
    value = re.sub(r"[ ./-]", "", text_of(match))
    return value if import_module(f"stdnum.{module}").is_valid(value) else None


def _resident(match: re.Match[str]) -> str | None:
    """A Chinese resident id (GB 11643): a date of birth, and the check character.

    Not whether its first digits name a county: these change, and old ones stay in use.
    """
    from stdnum.cn import ric
    from stdnum.exceptions import ValidationError

    value = text_of(match).upper()
    try:
        ric.get_birth_date(value)
    except ValidationError:
        return None
    return value if ric.calc_check_digit(value) == value[17] else None


def _nino(match: re.Match[str]) -> str | None:
    """A British National Insurance number: prefixes that are issued."""
    value = re.sub(r"[ -]", "", text_of(match))
    return None if value[:2] in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"} else value


_ID_WORD = r"\bid\b|identi|身份|证件|national|tax|steuer|ssn|social"
_NATIONAL: Sequence[tuple[str, str, str]] = (
    ("us.ssn", r"[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}", ""),
    ("us.ssn", r"[0-8][0-9]{2}[ ]?[0-9]{2}[ ]?[0-9]{4}", r"ssn|social security"),
    ("us.itin", r"9[0-9]{2}-[0-9]{2}-[0-9]{4}", ""),
    ("in_.aadhaar", r"[2-9][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}", ""),
    ("in_.aadhaar", r"[2-9][0-9]{11}", r"aadhaar|uidai"),
    ("in_.pan", r"[A-Z]{3}[ABCFGHJLPT][A-Z][0-9]{4}[A-Z]", r"\bpan\b"),
    ("br.cpf", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", ""),
    ("br.cpf", r"[0-9]{11}", r"\bcpf\b"),
    ("es.dni", r"[0-9]{8}-?[A-Z]", ""),
    ("es.nie", r"[XYZ]-?[0-9]{7}-?[A-Z]", ""),
    (
        "fr.nir",
        r"[12][ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[0-9AB]{2}[ ]?[0-9]{3}[ ]?[0-9]{3}[ ]?[0-9]{2}",
        "",
    ),
    ("it.codicefiscale", r"[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]", ""),
    ("de.idnr", r"[1-9][0-9](?:[ ]?[0-9]{3}){3}", r"steuer|tax|idnr|\btin\b|税"),
    ("pl.pesel", r"[0-9]{11}", r"pesel"),
    ("nl.bsn", r"[0-9]{9}", r"\bbsn\b|burgerservice"),
    ("be.nn", r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", ""),
    ("ch.ssn", r"756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}", ""),
    ("kr.rrn", r"[0-9]{6}-[1-8][0-9]{6}", ""),
    ("se.personnummer", r"(?:[0-9]{2})?[0-9]{6}[-+][0-9]{4}", r"person"),
    ("fi.hetu", r"[0-9]{6}[-+A][0-9]{3}[0-9A-Y]", ""),
    ("mx.curp", r"[A-Z]{4}[0-9]{6}[HM][A-Z]{5}[0-9A-Z][0-9]", ""),
    ("cl.rut", r"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9Kk]", ""),
    ("ca.sin", r"[0-9]{3}[ -][0-9]{3}[ -][0-9]{3}", r"\bsin\b|social insurance"),
    ("au.tfn", r"[0-9]{3}[ ]?[0-9]{3}[ ]?[0-9]{3}", r"\btfn\b|tax file"),
    ("za.idnr", r"[0-9]{13}", _ID_WORD),
    ("tr.tckimlik", r"[1-9][0-9]{10}", r"kimlik|\btc\b"),
    ("ro.cnp", r"[1-8][0-9]{12}", r"\bcnp\b|cod numeric"),
    ("id.nik", r"[0-9]{16}", r"\bnik\b|\bktp\b"),
    ("th.pin", r"[1-8]-[0-9]{4}-[0-9]{5}-[0-9]{2}-[0-9]", ""),
    ("my.nric", r"[0-9]{6}-[0-9]{2}-[0-9]{4}", r"nric|mykad|\bic\b"),
)
"""(module of python-stdnum, form, words that have to stand before it)."""


def _passport(match: re.Match[str]) -> str | None:
    return text_of(match).upper()


def _birth(match: re.Match[str]) -> str | None:
    """A date that a person can be born on."""
    numbers = [int(part) for part in re.findall(r"[0-9]+", text_of(match))]
    year = next((number for number in numbers if number > 31), None)
    if year is None:
        return text_of(match)
    return text_of(match) if 1900 <= (year if year > 99 else 1900 + year) <= date.max.year else None


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DATE = (
    r"(?:[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/. ][0-9]{1,2}[-/. ][0-9]{2,4}"
    r"|[0-9]{4} ?年 ?[0-9]{1,2} ?月 ?[0-9]{1,2} ?[日号]"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th)? (?:of )?{_MONTH},? [0-9]{{4}}"
    rf"|{_MONTH} [0-9]{{1,2}}(?:st|nd|rd|th)?,? [0-9]{{4}}|[0-9]{{8}})"
)
_BORN = (
    r"(?:date of birth|birth ?date|birthday|\bd\.?o\.?b\b\.?|\bborn(?: on)?|出生日期"
    r"|出生年月日?|生日|出生[于在]|生于)"
)

DETECTORS: tuple[Detector, ...] = (
    Detector(
        "iban",
        re.compile(
            rf"{START}[A-Z]{{2}}[0-9]{{2}}(?:[ -]?[A-Z0-9]{{4}}){{2,7}}(?:[ -]?[A-Z0-9]{{1,4}})?"
            rf"{END}"
        ),
        _iban,
        hint=re.compile(r"[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]{4}"),
    ),
    *(
        Detector(
            "national_id",
            re.compile(rf"{START}(?<![0-9][ .-])(?P<it>{form}){END}(?![ .-][0-9])"),
            partial(_national, module, words),
            hint=_LONG,
        )
        for module, form, words in _NATIONAL
    ),
    Detector(
        "national_id",
        re.compile(rf"{START}[1-9][0-9]{{5}}(?:18|19|20)[0-9]{{9}}[0-9Xx]{END}"),
        _resident,
        hint=_LONG,
    ),
    Detector(
        "national_id",
        re.compile(
            rf"{START}[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?:[ -]?[0-9]{{2}}){{3}}[ -]?[A-D]{END}"
        ),
        _nino,
        hint=re.compile(r"[A-Z]{2}[ -]?[0-9]{2}"),
    ),
    Detector(
        "card",
        re.compile(
            rf"{START}(?<![0-9][.-])(?:[2-6][0-9]{{12,18}}"
            rf"|[2-6][0-9]{{3}}(?P<gap>[ -])[0-9]{{4}}(?P=gap)[0-9]{{4}}(?P=gap)[0-9]{{4}}"
            rf"(?:(?P=gap)[0-9]{{3}})?|3[0-9]{{3}}[ -][0-9]{{6}}[ -][0-9]{{4,5}}"
            rf"|62[0-9]{{4}}[ -][0-9]{{13}}){END}(?![.-][0-9])"
        ),
        _card,
        hint=_LONG,
    ),
    Detector(
        "passport",
        re.compile(
            r"(?i)(?:passport|护照)(?:[ \t]{0,2}(?:numbers?|no\.?|num\.?|nr\.?|#|号码?|编号))?"
            r"[ \t]{0,2}(?:[:：#=]|is|是|为)?[ \t]{0,2}"
            r"(?P<it>(?=[A-Z0-9]{0,8}[0-9]{4})[A-Z0-9]{7,10})(?![A-Z0-9])"
        ),
        _passport,
        ("passport", "护照"),
    ),
    Detector(
        "birth_date",
        re.compile(rf"(?i){_BORN}[^0-9\n]{{0,14}}?(?P<it>{_DATE})(?![0-9])"),
        _birth,
        ("birth", "born", "dob", "d.o.b", "出生", "生日", "生于"),
    ),
    Detector(
        "ip",
        re.compile(
            rf"{START}(?<![0-9A-Za-z][.-])[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}{END}(?!\.[0-9])"
        ),
        _address,
        hint=re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]"),
    ),
    Detector(
        "ip",
        re.compile(
            r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{1,4}:{1,2}){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:])"
        ),
        _address6,
        hint=re.compile(r"[0-9A-Fa-f]:{1,2}[0-9A-Fa-f]{1,4}:"),
    ),
)
"""In the order in which they claim a stretch."""
