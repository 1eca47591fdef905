"""Telephone numbers: one pattern for candidates, then the numbering plans of phonenumbers."""

from __future__ import annotations

import re
from functools import lru_cache

from sft.scrubbing._find import before, digits_of, text_of

CANDIDATE = re.compile(
    r"(?<![A-Za-z0-9_.@#$€£¥/:=+-])(?<![0-9][ .])"
    r"(?P<it>(?:\+ ?|00)?\(?[0-9](?:[ ().\-/]{0,2}[0-9]){6,15})"
    r"(?![A-Za-z0-9_%]|[-./:][0-9]|[ ]?(?:USD|EUR|GBP|元|%))"
)
HINT = re.compile(r"[0-9][0-9 ().\-/]{5,}[0-9]")

_WORDS = re.compile(
    r"phone|tel\b|tel[.:]|telefon|tél|call|dial|mobile|mobil|cell|whats ?app|fax|\bsms\b|text me"
    r"|ring|reach me|contact|number|电话|手机|致电|联系|拨打|来电|号码|热线|传真|微信|座机|短信"
)
_OTHER = re.compile(
    r"order|invoice|ticket|tracking|parcel|isbn|issn|sku|part|serial|version|doi|account|ref\b|case"
    r"|article|batch|model|item|zip|订单|单号|编号|运单|工单|发票|型号|快递|物流|账号|邮编|序列|货号|流水"
)
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}[-./ ]?[01]?[0-9][-./ ]?[0-3]?[0-9](?:[ T]?[0-9]{2}){0,3}"
    r"|[0-3]?[0-9][-./ ][01]?[0-9][-./ ](?:19|20)[0-9]{2}"
)
_SINGLE = re.compile(r"[0-9](?:[ .,/-][0-9]){5,}")
_TOLL_FREE = re.compile(
    r"(?:\+?1[-. ]?)?\(?8(?:00|33|44|55|66|77|88)\)?[-. ]?[0-9]{3}[-. ]?[0-9]{4}"
    r"|[48]00[- ]?[0-9]{3}[- ]?[0-9]{4}"
)
"""Of North America and of China."""
_CHINESE_MOBILE = re.compile(r"1[3-9][0-9]{9}|1[3-9][0-9]([ -])[0-9]{4}\1[0-9]{4}")
_WRITTEN = re.compile(
    r"\([2-9][0-9]{2}\)[ ]?[2-9][0-9]{2}[-. ][0-9]{4}|[2-9][0-9]{2}([-.])[2-9][0-9]{2}\1[0-9]{4}"
    r"|1[-. ][2-9][0-9]{2}[-. ][2-9][0-9]{2}[-. ][0-9]{4}"
    r"|\(?0[0-9()]{1,6}(?:[ -][0-9]{2,8}){1,5}|0[0-9]{9,10}|[6-9][0-9]{4}[ -][0-9]{5}"
    r"|\([0-9]{2}\)[ ]?9?[0-9]{4}-[0-9]{4}"
)
"""How numbers of North America, of countries with a trunk 0, of India and of Brazil are written."""


def phone(regions: tuple[str, ...], match: re.Match[str]) -> str | None:
    """A number that some plan has, in E.164; None for what is written like something else.

    With a country code the plan decides. Without, the number has to be written as in one of the
    regions, or a word before it has to say that it is a phone's. Numbers that belong to businesses
    by their kind (toll-free, premium, shared cost) are not personal.
    """
    written = text_of(match)
    if any(form.fullmatch(written) for form in (_DATE, _SINGLE, _TOLL_FREE)):
        return None
    said = before(match)
    is_told = bool(_WORDS.search(said))
    if not is_told and _OTHER.search(said):
        return None
    if written.startswith("+"):
        return _planned(written, ("",))
    if written.startswith("00"):
        return _planned("+" + digits_of(written)[2:], ("",))
    if _CHINESE_MOBILE.fullmatch(written):
        return _planned(written, ("CN",))
    if is_told or _WRITTEN.fullmatch(written):
        return _planned(written, regions)
    if written.startswith("86"):
        return (
            _planned("+" + written, ("",))
            if _CHINESE_MOBILE.fullmatch(written[2:].strip(" -"))
            else None
        )
    return None


@lru_cache(maxsize=10_000)
def _planned(written: str, regions: tuple[str, ...]) -> str | None:
    """The number in E.164 by the first region whose plan has it."""
    import phonenumbers as plans

    for region in regions:
        try:
            number = plans.parse(written, region or None)
        except plans.NumberParseException:
            continue
        if plans.is_valid_number(number):
            businesses = {
                plans.PhoneNumberType.TOLL_FREE,
                plans.PhoneNumberType.PREMIUM_RATE,
                plans.PhoneNumberType.SHARED_COST,
            }
            if plans.number_type(number) in businesses:
                continue
            return str(plans.format_number(number, plans.PhoneNumberFormat.E164))
    return None
