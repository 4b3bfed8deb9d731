"""Personal data and secrets out of what is stored. Pure.

Every rule prefers to leave a text alone: numbers are phones, cards or accounts only where their
form or their check digits say so, so that dates, prices, versions and identifiers survive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import AddressValueError, IPv6Address
from typing import Any, Final

from inhouse.core.errors import Invalid
from inhouse.interactions.patterns import check_pattern

Rule = Callable[[str], str]

_LETTER = "A-Za-z\u00c0-\u024f\u0370-\u052f"
_EMAIL = re.compile(
    rf"(?<![{_LETTER}0-9._%+'-])[{_LETTER}0-9._%+'-]{{1,64}}@"
    rf"(?!\d+x\.)(?:[{_LETTER}0-9](?:[{_LETTER}0-9-]{{0,61}}[{_LETTER}0-9])?\.){{1,8}}"
    rf"(?:xn--[A-Za-z0-9-]{{2,59}}|[{_LETTER}]{{2,24}})"
)
_CARD = re.compile(r"(?<![\w.,/+-])\d(?:[ -]?\d){12,18}(?![\w/]|[.,-]\d)")
_CARD_BRANDS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:2[2-9]|[3-6]\d|7[01])\d{13}|2720\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35\d{14}|6(?:011|5\d\d|4[4-9]\d)\d{12}|62\d{14,17}"
)
_CARD_GROUPS = re.compile(
    r"\d+|\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5}"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}")
_COUNTRIES: Final = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27"
    " DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28"
    " IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22"
    " MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24"
    " SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_IBAN_LENGTHS: Final = {entry[:2]: int(entry[2:]) for entry in _COUNTRIES.split()}
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"(?<![\w.-])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w-]|\.\d)")
_VERSION = re.compile(
    r"(?:\b(?:version|release|build|update|v|ver|rev)\.?:?|[=<>~^]) ?$", re.IGNORECASE
)
_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f]*:)[0-9A-Fa-f:]{3,39}(?:(?<=:)(?:\d{1,3}\.){3}\d{1,3})?(?![\w:]|\.\d)"
)
_PHONE = re.compile(
    r"(?<![\w.,:/+-])(?<!\d{4} )(?:"
    r"\+[1-9]\d{8,14}"  # +14155550123
    r"|\+[1-9]\d{0,2}(?:\.\d{2,4}){3,4}"  # +1.415.555.0123
    r"|(?:\+|00)[1-9]\d{0,2}[ -]?(?:\(\d{1,4}\)[ -]?)?\d{1,5}(?:[ /-]\d{2,8}){1,5}"
    r"|(?:1[ .-])?\([2-9]\d{2}\) ?\d{3}[ .-]\d{4}"  # (415) 555-0123
    r"|(?:1-)?[2-9]\d{2}-\d{3}-\d{4}|(?:1\.)?[2-9]\d{2}\.\d{3}\.\d{4}"
    r"|\(0[1-9]\d{1,4}\) ?\d{2,8}(?:[ -]\d{2,8}){0,3}"
    r"|0[1-9]\d{8,9}|0[1-9](?:\.\d\d){4}|0[1-9](?:-\d\d){4}"
    r"|0[1-9]\d{0,4}(?: ?- ?\d{4,8}|[ /]\d{2,8})(?:[ -]\d{2,8}){0,4}"
    r"|1[3-9]\d([ -])\d{4}\1\d{4}"  # 138 0013 8000
    r")(?![\w/%]|[.,:-]\d)"
)
_CALLED = re.compile(
    r"(\b(?:tel|telephone|telefon|telefono|téléphone|phone|mobile|cell|handy|fax|whatsapp|call|ring)"
    r"\b[^\w\n]{0,4}(?:(?:number|us|me|at|on|is|nr|no)\b[^\w\n]{0,3}){0,3})"
    r"(\(?\d(?:[ ./()-]{0,2}\d){6,14})(?![\w/%]|[.,:-]\d)",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?:0?[1-9]|[12]\d|3[01])[-/. ](?:0?[1-9]|[12]\d|3[01])[-/. ](?:19|20)\d\d")
_SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[A-Za-z0-9+/=\s:,-]{0,8192}"
    r"|(?<![A-Za-z0-9])(?:"
    r"sk-(?=[A-Za-z_-]{0,99}\d)[A-Za-z0-9_-]{16,}|[spr]k_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])|AIza[A-Za-z0-9_-]{30,}|hf_[A-Za-z0-9]{20,}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|ih_[A-Za-z0-9_-]{43}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"
    r"|[Bb]earer[ ]+(?=[A-Za-z._~+/=-]{0,99}\d)[A-Za-z0-9._~+/=-]{16,}"
    r")"
)


_SECRET_MARKS: Final = ("_", "sk-", "AKIA", "ASIA", "AIza", "xox", "eyJ", "earer", "glpat", "BEGIN")
_FIGURES = re.compile(r"[+(\d][\d +().\-/]{6,}")


class Redactor:
    """Replaces what its rules find with the rule's name in brackets, such as ``[email]``.

    ``builtin`` names rules of ``BUILTIN``; ``patterns`` are rules of the operator's own, name to
    regular expression, applied first. Raises Invalid (code ``redaction``) for an unknown rule, and
    for an expression that is none, that matches nothing at all, or that could run for ever.
    """

    def __init__(self, builtin: Sequence[str], patterns: Mapping[str, str]) -> None:
        for name in builtin:
            if name not in BUILTIN:
                raise Invalid(
                    f"there is no redaction rule {name!r}",
                    code="redaction",
                    hint="rules: " + ", ".join(BUILTIN),
                )
        own = [_replacing(check_pattern(name, text), name) for name, text in patterns.items()]
        self._rules = [*own, *(rule for name, rule in BUILTIN.items() if name in builtin)]

    def apply(self, value: Any) -> Any:
        """A JSON value with the text in it redacted. Keys of objects stay as they are."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {key: self.apply(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.apply(one) for one in value]
        return value

    def _text(self, text: str) -> str:
        for rule in self._rules:
            text = rule(text)
        return text


def _replacing(pattern: re.Pattern[str], name: str) -> Rule:
    mark = f"[{name}]"
    return lambda text: pattern.sub(lambda _: mark, text)


def _in_figures(
    pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str], text: str
) -> str:
    """Like ``pattern.sub``, for patterns of figures: the rest of the text is skipped quickly."""
    pieces: list[str] = []
    done = 0
    for figures in _FIGURES.finditer(text):
        for match in pattern.finditer(text, figures.start(), figures.end() + 2):
            pieces += (text[done : match.start()], replace(match))
            done = match.end()
    return "".join((*pieces, text[done:])) if pieces else text


def _emails(text: str) -> str:
    return _EMAIL.sub("[email]", text) if "@" in text else text


def _cards(text: str) -> str:
    return _in_figures(_CARD, lambda match: "[card]" if is_card(match[0]) else match[0], text)


def is_card(text: str) -> bool:
    """Whether digits, perhaps in groups, are the number of a payment card: a known issuer's range,
    the length that goes with it, and a right check digit (Luhn)."""
    digits = re.sub("[ -]", "", text)
    if not _CARD_GROUPS.fullmatch(text) or not _CARD_BRANDS.fullmatch(digits):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _ibans(text: str) -> str:
    return _IBAN.sub(lambda match: _without_iban(match[0]), text)


def _without_iban(text: str) -> str:
    """A candidate may reach into the words after the account; its country says where it ends."""
    length = _IBAN_LENGTHS.get(text[:2].upper(), 0)
    places = [place for place, character in enumerate(text) if character != " "]
    if not length or len(places) < length:
        return text
    end = places[length - 1] + 1
    if (end < len(text) and text[end] != " ") or not is_iban(text[:end]):
        return text
    return "[iban]" + text[end:]


def is_iban(text: str) -> bool:
    """Whether the text is an account number with right check digits (mod 97); spaces are free."""
    compact = text.replace(" ", "").upper()
    if len(compact) != _IBAN_LENGTHS.get(compact[:2]) or not compact.isascii():
        return False
    turned = compact[4:] + compact[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def _addresses(text: str) -> str:
    if ":" in text:
        text = _IPV6.sub(lambda match: "[ip]" if _is_ipv6(match[0]) else match[0], text)
    return _in_figures(_IPV4, _without_ipv4, text)


def _without_ipv4(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 16) : match.start()]
    return match[0] if _VERSION.search(before) else "[ip]"


def _is_ipv6(text: str) -> bool:
    if text.count(":") < 2 or not any(character.isdigit() for character in text):
        return False
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _phones(text: str) -> str:
    if not _FIGURES.search(text):
        return text
    text = _in_figures(_PHONE, lambda match: "[phone]" if _is_phone(match[0]) else match[0], text)
    return _CALLED.sub(lambda match: match[1] + "[phone]", text)


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return 8 <= digits <= 16 and not (text[0] == "0" and (digits < 9 or _DATE.match(text)))


def _secrets(text: str) -> str:
    if not any(mark in text for mark in _SECRET_MARKS):
        return text
    return _SECRET.sub("[secret]", text)


BUILTIN: Final[Mapping[str, Rule]] = {
    "secret": _secrets,
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "ip": _addresses,
    "phone": _phones,
}
"""The rules in the box, in the order in which they are applied."""
