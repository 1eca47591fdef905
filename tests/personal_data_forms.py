"""Invented personal data in its written forms, from the public specifications of the formats.

Check digits are computed here by hand, so that a detector's libraries are tested too. Every value
is synthetic; that one of them belongs to somebody would be chance.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

Make = Callable[[Random], str]


class Form(NamedTuple):
    """A way to write a kind of personal data.

    ``make`` gives a text in which ⟨ and ⟩ enclose what is personal. Forms of which ``in_both`` is
    false occur in the held-out set only.
    """

    kind: str
    name: str
    make: Make
    in_both: bool


def luhn(digits: str) -> str:
    """The check digit behind ``digits`` (ISO/IEC 7812, annex B)."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        total += sum(divmod(int(digit) * (2 if index % 2 == 0 else 1), 10))
    return str(-total % 10)


def iban(country: str, account: str) -> str:
    """The IBAN of a national account number (ISO 13616, check digits by ISO 7064, modulo 97)."""
    number = int("".join(str(int(char, 36)) for char in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02}{account}"


def resident_id(draw: Random) -> str:
    """A Chinese resident id (GB 11643): region, date of birth, sequence, ISO 7064 modulo 11-2."""
    region = draw.choice(("110101", "310104", "440305", "330106", "510107", "420106", "320102"))
    body = f"{region}{date(draw, '{:04}{:02}{:02}')}{draw.randint(1, 999):03}"
    total = sum(int(digit) * pow(2, 17 - index, 11) for index, digit in enumerate(body))
    return body + "10X98765432"[total % 11]


_D = [[(a + b) % 5 if a < 5 and b < 5 else 5 + (a + b) % 5 if a < 5 else 5 + (a - b) % 5 if b < 5
       else (a - b) % 5 for b in range(10)] for a in range(10)]  # fmt: skip
_P = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
for _row in range(2, 8):
    _P.append([_P[_row - 1][_P[1][column]] for column in range(10)])


def verhoeff(digits: str) -> str:
    """The check digit behind ``digits`` in the dihedral group of order 10 (Verhoeff 1969)."""
    check = 0
    for index, digit in enumerate(reversed(digits), start=1):
        check = _D[check][_P[index % 8][int(digit)]]
    return str(next(value for value in range(10) if _D[value][check] == 0))


def date(draw: Random, form: str) -> str:
    """A date of birth of somebody alive."""
    return form.format(draw.randint(1945, 2005), draw.randint(1, 12), draw.randint(1, 28))


def number(draw: Random, count: int, first: str = string.digits) -> str:
    """``count`` digits; the first is one of ``first``."""
    return draw.choice(first) + "".join(draw.choices(string.digits, k=count - 1))


def chars(draw: Random, count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """``count`` characters, among them a digit and a letter, as random tokens have."""
    while True:
        text = "".join(draw.choices(alphabet, k=count))
        if any(c.isdigit() for c in text) and any(c.isalpha() for c in text):
            return text


def grouped(text: str, sizes: Sequence[int], gap: str) -> str:
    """The text in groups."""
    groups, at = [], 0
    for size in sizes:
        groups.append(text[at : at + size])
        at += size
    return gap.join(groups)


def _mark(make: Make) -> Make:
    return lambda draw: f"⟨{make(draw)}⟩"


_FIRST = ("li.na", "chen", "anna", "j.moreau", "sam.okoro", "petra", "wangwei", "diego", "mika")
_LAST = ("novak", "zhang", "weber", "santos", "ito", "kelly", "dubois", "rossi", "yilmaz")
_HOSTS = ("gmail.com", "qq.com", "163.com", "web.de", "outlook.com", "mailbox.org", "acme.io")
_HANDLES = (
    "nightowl",
    "lena_codes",
    "pixelfox",
    "tom.h",
    "dr_panda",
    "sunny",
    "moonrider",
    "kaito",
)


def _mail(joint: str, tail: str, hosts: Sequence[str] = _HOSTS) -> Make:
    return lambda d: (
        f"{d.choice(_FIRST)}{joint}{d.choice(_LAST)}{tail and tail + str(d.randint(1, 99))}"
        f"@{d.choice(hosts)}"
    )


def _nanp(form: str) -> Make:
    def make(draw: Random) -> str:
        area = draw.choice(("212", "415", "617", "312", "206", "512", "303", "404", "702", "919"))
        exchange = draw.choice("23456789") + draw.choice("023456789") + draw.choice("23456789")
        exchange = "662" if exchange == "555" else exchange
        return form.format(area, exchange, number(draw, 4))

    return make


def _digits(form: str, *parts: tuple[Sequence[str], int]) -> Make:
    """A text with numbers in it: each one of some prefixes, and so many further digits."""
    return lambda d: form.format(
        *(d.choice(prefixes) + (number(d, more) if more else "") for prefixes, more in parts)
    )


_CN = (("138", "139", "150", "158", "186", "177", "133"), 0)
_PHONES = [
    ("us-parentheses", _nanp("({}) {}-{}"), True),
    ("us-hyphens", _nanp("{}-{}-{}"), True),
    ("us-dots", _nanp("{}.{}.{}"), False),
    ("us-spaces", _nanp("{} {} {}"), False),
    ("us-country-code", _nanp("+1 {} {} {}"), True),
    ("us-one-hyphens", _nanp("1-{}-{}-{}"), False),
    ("us-bare", _nanp("{}{}{}"), False),
    ("cn-mobile-bare", _digits("{}{}", _CN, (("2", "5", "8"), 7)), True),
    ("cn-mobile-spaces", _digits("{} {} {}", _CN, (("",), 4), (("",), 4)), False),
    ("cn-mobile-hyphens", _digits("{}-{}-{}", _CN, (("",), 4), (("",), 4)), False),
    ("cn-mobile-country-code", _digits("+86 {}{}", _CN, (("",), 8)), True),
    ("cn-mobile-0086", _digits("0086{}{}", _CN, (("",), 8)), False),
    ("cn-landline", _digits("{}-{}", (("010", "021", "0755"), 0), (("6", "8"), 7)), True),
    ("cn-landline-parentheses", _digits("({}){}", (("010", "021"), 0), (("6", "5"), 7)), False),
    ("gb-mobile", _digits("0{} {}", (("7400", "7501", "7712", "7815"), 0), (("",), 6)), True),
    ("gb-country-code", _digits("+44 {} {}", (("7400", "7501", "7973"), 0), (("",), 6)), False),
    ("gb-london", _digits("020 {} {}", (("7", "8"), 3), (("",), 4)), False),
    ("de-country-code", _digits("+49 {} {}", (("171", "170"), 0), (("",), 7)), True),
    ("de-mobile-slash", _digits("0{}/{}", (("171", "160"), 0), (("2", "5"), 6)), False),
    ("de-berlin", _digits("030 {}", (("2", "4", "6"), 7)), False),
    ("fr-mobile", _digits("06 {} {} {} {}", *[(("",), 2)] * 4), True),
    ("fr-mobile-dots", _digits("06.{}.{}.{}.{}", *[(("",), 2)] * 4), False),
    ("fr-country-code", _digits("+33 6 {} {} {} {}", *[(("",), 2)] * 4), False),
    ("in-mobile", _digits("{} {}", (("98", "99"), 3), (("",), 5)), True),
    ("in-country-code", _digits("+91-{}", (("98", "99"), 8)), False),
    ("jp-mobile", _digits("{}-{}-{}", (("090", "080"), 0), (("2", "5"), 3), (("",), 4)), True),
    ("jp-tokyo", _digits("03-{}-{}", (("3", "5"), 3), (("",), 4)), False),
    ("br-mobile", _digits("({}) {}-{}", (("11", "21"), 0), (("98", "99"), 3), (("",), 4)), False),
    ("kr-country-code", _digits("+82 10-{}-{}", (("3", "5"), 3), (("",), 4)), False),
    (
        "au-country-code",
        _digits("+61 {} {} {}", (("412", "438"), 0), (("",), 3), (("",), 3)),
        False,
    ),
    ("sg-country-code", _digits("+65 {} {}", (("91", "97"), 2), (("",), 4)), False),
]


def _card(prefixes: Sequence[str], length: int, sizes: Sequence[int], gap: str = " ") -> Make:
    def make(draw: Random) -> str:
        prefix = draw.choice(prefixes)
        body = prefix + number(draw, length - 1 - len(prefix))
        return grouped(body + luhn(body), sizes, gap)

    return make


_FOURS = (4, 4, 4, 4)
_CARDS = [
    ("visa", _card("4", 16, _FOURS), True),
    ("visa-bare", _card("4", 16, (16,)), False),
    ("mastercard-hyphens", _card(("51", "54", "55"), 16, _FOURS, "-"), True),
    ("mastercard-2", _card(("2221", "2500", "2720"), 16, _FOURS), False),
    ("amex", _card(("34", "37"), 15, (4, 6, 5)), True),
    ("amex-bare", _card(("34", "37"), 15, (15,)), False),
    ("discover", _card(("6011", "644", "65"), 16, _FOURS), False),
    ("jcb", _card(("3528", "3589"), 16, _FOURS), False),
    ("unionpay", _card(("6222", "6225", "6217"), 16, _FOURS), True),
    ("unionpay-19", _card(("622202", "621700", "622848"), 19, (19,)), False),
    ("unionpay-19-grouped", _card(("622202", "621700"), 19, (4, 4, 4, 4, 3)), False),
    ("diners", _card(("36", "38"), 14, (4, 6, 4)), False),
]


def _fr_account(draw: Random) -> str:
    bank, branch, account = number(draw, 5), number(draw, 5), number(draw, 11)
    key = 97 - (89 * int(bank) + 15 * int(branch) + 3 * int(account)) % 97
    return f"{bank}{branch}{account}{key:02}"


def _es_account(draw: Random) -> str:
    def check(digits: str) -> str:
        weights = (1, 2, 4, 8, 5, 10, 9, 7, 3, 6)
        rest = 11 - sum(int(d) * w for d, w in zip(digits, weights, strict=True)) % 11
        return str({10: 1, 11: 0}.get(rest, rest))

    bank, branch, account = number(draw, 4), number(draw, 4), number(draw, 10)
    return bank + branch + check(f"00{bank}{branch}") + check(account) + account


_BIC = ("NWBK", "BARC", "LOYD", "HBUK")
_PAIRS = (4,) * 9
_IBANS = [
    ("de-grouped", lambda d: grouped(iban("DE", number(d, 18)), _PAIRS[:6], " ").strip(), True),
    ("de-bare", lambda d: iban("DE", number(d, 18)), False),
    ("gb", lambda d: iban("GB", d.choice(_BIC) + number(d, 14)), True),
    ("gb-grouped", lambda d: grouped(iban("GB", d.choice(_BIC) + number(d, 14)), _PAIRS[:6], " "),
     False),
    ("fr-grouped", lambda d: grouped(iban("FR", _fr_account(d)), _PAIRS[:7], " "), False),
    ("es-hyphens", lambda d: grouped(iban("ES", _es_account(d)), _PAIRS[:6], "-"), False),
    ("at", lambda d: iban("AT", number(d, 16)), False),
    ("ch-grouped", lambda d: grouped(iban("CH", number(d, 17)), _PAIRS[:6], " "), False),
]  # fmt: skip

_V4 = ("23", "45", "81", "93", "117", "142", "176", "185", "202", "218")


def _v4(draw: Random) -> str:
    return ".".join([draw.choice(_V4), *(str(draw.randint(11, 254)) for _ in range(3))])


def _hex(draw: Random, count: int) -> str:
    return chars(draw, count, "0123456789abcdef")


_IPS = [
    ("v4", _v4, True),
    ("v4-port", lambda d: f"⟨{_v4(d)}⟩:{d.randint(1024, 65535)}", False),
    ("v4-url", lambda d: f"http://⟨{_v4(d)}⟩/status", False),
    ("v6", lambda d: "2a02:" + ":".join(f"{d.randint(4096, 65535):x}" for _ in range(7)), True),
    ("v6-short", lambda d: f"240e:{_hex(d, 3)}:{_hex(d, 4)}::{d.randint(1, 9)}", False),
]


def _base64url(draw: Random, count: int) -> str:
    return base64.urlsafe_b64encode(draw.randbytes(count)).decode().rstrip("=")


def _jwt(draw: Random) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(f'{{"sub":"{number(draw, 9)}"}}'.encode()).decode().rstrip("=")
    return f"{head}.{body}.{_base64url(draw, 32)}"


def _pem(draw: Random) -> str:
    body = "\n".join(base64.b64encode(draw.randbytes(48)).decode() for _ in range(4))
    return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"


_WORDS = ("tiger", "Sunset", "correct", "Falcon", "winter", "Kirsche")
_UPPER = string.ascii_uppercase + "234567"


def _password(draw: Random) -> str:
    return f"{draw.choice(_WORDS)}{draw.choice('#!_-$')}{draw.randint(10, 9999)}"


_KEYS = [
    ("openai-project", lambda d: f"sk-proj-{_base64url(d, 60)}", True),
    ("openai-legacy", lambda d: f"sk-{chars(d, 20)}T3BlbkFJ{chars(d, 20)}", False),
    ("anthropic", lambda d: f"sk-ant-api03-{_base64url(d, 66)}AA", True),
    ("aws-id", lambda d: f"AKIA{chars(d, 16, _UPPER)}", True),
    ("aws-secret", lambda d: f"aws_secret_access_key = ⟨{base64.b64encode(d.randbytes(30)).decode()}⟩",
     False),
    ("google", lambda d: f"AIza{chars(d, 35)}", False),
    ("github", lambda d: f"ghp_{chars(d, 36)}", True),
    ("github-fine", lambda d: f"github_pat_{chars(d, 22)}_{chars(d, 59)}", False),
    ("gitlab", lambda d: f"glpat-{chars(d, 20)}", False),
    ("slack", lambda d: f"xoxb-{number(d, 12)}-{number(d, 13)}-{chars(d, 24)}", False),
    ("stripe", lambda d: f"sk_live_{chars(d, 24)}", True),
    ("huggingface", lambda d: f"hf_{chars(d, 34)}", False),
    ("jwt", _jwt, False),
    ("pem", _pem, False),
    ("password-colon", lambda d: f"password: ⟨{_password(d)}⟩", True),
    ("password-quoted", lambda d: f'"password": "⟨{_password(d)}⟩"', False),
    ("password-zh", lambda d: f"密码：⟨{_password(d)}⟩", True),
    ("api-key-assigned", lambda d: f"API_KEY=⟨{chars(d, 32)}⟩", False),
]  # fmt: skip


def _cpf(draw: Random) -> str:
    digits = number(draw, 9)
    for _ in range(2):
        weights = range(len(digits) + 1, 1, -1)
        total = sum(int(d) * w for d, w in zip(digits, weights, strict=True))
        digits += str(0 if total % 11 < 2 else 11 - total % 11)
    return f"{digits[:3]}.{digits[3:6]}.{digits[6:9]}-{digits[9:]}"


_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"


def _dni(draw: Random) -> str:
    digits = number(draw, 8, "12345678")
    return f"DNI ⟨{digits}{_DNI[int(digits) % 23]}⟩"


def _nie(draw: Random) -> str:
    first, digits = draw.randint(0, 2), number(draw, 7)
    return f"NIE ⟨{'XYZ'[first]}{digits}{_DNI[int(f'{first}{digits}') % 23]}⟩"


def _nir(draw: Random) -> str:
    digits = (
        f"{draw.choice('12')}{draw.randint(45, 99)}{draw.randint(1, 12):02}"
        f"{draw.choice(('75', '69', '33', '59'))}{draw.randint(1, 500):03}{draw.randint(1, 300):03}"
    )
    return grouped(f"{digits}{97 - int(digits) % 97:02}", (1, 2, 2, 2, 3, 3, 2), " ")


def _german_tax_id(draw: Random) -> str:
    nine = draw.sample("123456789", 9)
    body = [*nine, draw.choice(nine[:8])]  # one digit twice, none thrice
    rest = 10
    for digit in body:
        product = (int(digit) + rest) % 10 or 10
        rest = product * 2 % 11
    text = "".join(body) + str((11 - rest) % 10)
    return f"Steuer-ID ⟨{grouped(text, (2, 3, 3, 3), ' ')}⟩"


def _ssn(form: str) -> Make:
    return lambda d: form.format(
        d.choice((d.randint(1, 665), d.randint(667, 899))), d.randint(1, 99), d.randint(1, 9999)
    )


def _nino(draw: Random) -> str:
    return (
        f"{draw.choice(('AB', 'JG', 'PW', 'SL'))} {grouped(number(draw, 6), (2, 2, 2), ' ')} "
        + (draw.choice("ABCD"))
    )


def _nhs(draw: Random) -> str:
    while True:
        digits = number(draw, 9, "4")
        check = -sum(int(d) * w for d, w in zip(digits, range(10, 1, -1), strict=True)) % 11
        if check < 10:
            return f"NHS number ⟨{grouped(f'{digits}{check}', (3, 3, 4), ' ')}⟩"


def _korean(draw: Random) -> str:
    body = f"{draw.randint(50, 99)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}" + (
        f"{draw.choice('12')}{number(draw, 5, '01')}"
    )
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    total = sum(int(d) * w for d, w in zip(body, weights, strict=True))
    return f"{body[:6]}-{body[6:]}{(11 - total % 11) % 10}"


def _hong_kong(draw: Random) -> str:
    letter, digits = draw.choice("ACDGKMPRYZ"), number(draw, 6)
    total = 36 * 9 + int(letter, 36) * 8
    total += sum(int(d) * w for d, w in zip(digits, range(7, 1, -1), strict=True))
    return f"{letter}{digits}({'0123456789A'[-total % 11]})"


_ODD = dict(zip(string.digits + string.ascii_uppercase, (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8,
    12, 14, 16, 10, 22, 25, 24, 23), strict=True))  # fmt: skip


def _italian(draw: Random) -> str:
    body = (
        draw.choice(("RSSMRA", "BNCLCU", "VRDGPP", "FRRLSN"))
        + f"{draw.randint(45, 99)}{draw.choice('ABCDEHLMPRST')}{draw.randint(1, 28):02}"
        + draw.choice(("H501", "F205", "L219", "D612"))
    )
    total = sum(
        _ODD[c] if i % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65)
        for i, c in enumerate(body)
    )
    return body + string.ascii_uppercase[total % 26]


def _aadhaar(draw: Random) -> str:
    body = number(draw, 11, "23456789")
    return grouped(body + verhoeff(body), (4, 4, 4), " ")


_NATIONAL = [
    ("cn-resident", resident_id, True),
    ("us-ssn", _ssn("{:03}-{:02}-{:04}"), True),
    ("us-ssn-label-bare", lambda d: f"SSN ⟨{_ssn('{:03}{:02}{:04}')(d)}⟩", False),
    (
        "us-itin",
        lambda d: f"9{number(d, 2)}-{d.randint(70, 88)}-{number(d, 4, '123456789')}",
        False,
    ),
    ("gb-nino", _nino, True),
    ("gb-nhs", _nhs, False),
    ("in-aadhaar", _aadhaar, True),
    ("br-cpf", _cpf, True),
    ("es-dni", _dni, True),
    ("es-nie", _nie, False),
    ("fr-nir", _nir, False),
    ("de-tax-id", _german_tax_id, False),
    ("kr-resident", _korean, False),
    ("hk-id", _hong_kong, False),
    ("it-fiscal-code", _italian, False),
]


def _handle(draw: Random) -> str:
    return f"{draw.choice(_HANDLES).replace('.', '_')}{draw.randint(1, 999)}"


_USERNAMES = [
    ("at-sign", lambda d: f"@⟨{_handle(d)}⟩", True),
    ("reddit", lambda d: f"u/⟨{_handle(d)}⟩", True),
    ("label", lambda d: f"username: ⟨{_handle(d)}⟩", True),
    ("label-zh", lambda d: f"用户名：⟨{_handle(d)}⟩", True),
    ("wechat", lambda d: f"微信号：⟨{_handle(d)}⟩", False),
    ("github-profile", lambda d: f"https://github.com/⟨{_handle(d)}⟩", True),
    ("twitter-profile", lambda d: f"https://twitter.com/⟨{_handle(d)}⟩", False),
    ("linkedin-profile", lambda d: f"https://www.linkedin.com/in/⟨{_handle(d)}⟩", False),
    ("zhihu-profile", lambda d: f"https://www.zhihu.com/people/⟨{_handle(d)}⟩", False),
]

_CREDENTIALS = [
    ("https", lambda d: f"https://⟨{d.choice(_LAST)}:{_password(d).replace('#', '.')}⟩@db.acme.io/x",
     True),
    ("postgres", lambda d: f"postgresql://⟨app_{d.choice(_LAST)}:{chars(d, 16)}⟩@10.2.0.7:5432/app",
     True),
    ("redis-no-user", lambda d: f"redis://⟨:{chars(d, 20)}⟩@cache.internal:6379/0", False),
]  # fmt: skip

_EMAILS = [
    ("plain", _mail("_", ""), True),
    ("digits", _mail(".", ""), False),
    ("plus", _mail("", "+news"), True),
    ("number", _mail("", "_"), False),
    ("subdomain", _mail("-", "", ("mail.acme.co.uk", "cs.nju.edu.cn", "hr.corp-x.com.cn")), True),
    ("qq-number", lambda d: f"{number(d, 9, '123456789')}@qq.com", False),
    ("upper-case", lambda d: _mail(".", "")(d).title(), False),
    ("angle-brackets", lambda d: f"<⟨{_mail('.', '')(d)}⟩>", False),
    ("mailto", lambda d: f"mailto:⟨{_mail('', '')(d)}⟩", False),
]

_PASSPORTS = [
    ("cn", lambda d: d.choice(("E", "EA", "G"))[:1] + number(d, 8), True),
    ("us", lambda d: number(d, 9, "3456"), True),
    ("de", lambda d: f"C{chars(d, 8, '0123456789FGHJKLMNPRTVWXYZ')}", False),
]

_BIRTHS = [
    ("iso", lambda d: date(d, "{:04}-{:02}-{:02}"), True),
    ("slashes", lambda d: "{2:02}/{1:02}/{0}".format(*date(d, "{}.{}.{}").split(".")), False),
    ("zh", lambda d: date(d, "{}年{}月{}日"), True),
    ("words", lambda d: f"{d.randint(1, 28)} {d.choice(('March', 'July', 'October'))} "
     f"{d.randint(1945, 2005)}", False),
]  # fmt: skip


def _forms(kind: str, table: Sequence[tuple[str, Make, bool]]) -> list[Form]:
    return [Form(kind, name, make, in_both) for name, make, in_both in table]


FORMS: tuple[Form, ...] = (
    *_forms("email", _EMAILS),
    *_forms("phone", _PHONES),
    *_forms("card", _CARDS),
    *_forms("iban", _IBANS),
    *_forms("ip", _IPS),
    *_forms("key", _KEYS),
    *_forms("national_id", _NATIONAL),
    *_forms("username", _USERNAMES),
    *_forms("url_credentials", _CREDENTIALS),
    *_forms("passport", _PASSPORTS),
    *_forms("birth_date", _BIRTHS),
)
