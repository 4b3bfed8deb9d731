"""What the rules find, and above all what they leave alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.errors import Invalid
from inhouse.interactions.patterns import check_pattern
from inhouse.interactions.redact import BUILTIN, Redactor, is_card, is_iban

EVERYTHING = Redactor(tuple(BUILTIN), {})

FOUND = [
    ("write to joe@example.com.", "write to [email]."),
    ("<Ann.Lee+news@mail.example.co.uk>", "<[email]>"),
    ("联系joe@example.com或致电", "联系[email]或致电"),
    ("jörg@exämple.de", "[email]"),
    ("mailto:a_b-c%d@x-y.io?subject=hi", "mailto:[email]?subject=hi"),
    ("a@b.co,c@d.org", "[email],[email]"),
    ("o'neil@example.ie", "[email]"),
    ("x@xn--bcher-kva.xn--p1ai", "[email]"),
    ("call +14155550123 now", "call [phone] now"),
    ("+1 415 555 0123", "[phone]"),
    ("+1 (415) 555-0123", "[phone]"),
    ("+1.415.555.0123", "[phone]"),
    ("(415) 555-0123", "[phone]"),
    ("415-555-0123", "[phone]"),
    ("1-800-555-0123", "[phone]"),
    ("+44 20 7946 0958", "[phone]"),
    ("020 7946 0958", "[phone]"),
    ("+49 (0)30 123456-78", "[phone]"),
    ("030/1234567", "[phone]"),
    ("0171 1234567", "[phone]"),
    ("0049 30 1234567", "[phone]"),
    ("+33 1 23 45 67 89", "[phone]"),
    ("01 23 45 67 89", "[phone]"),
    ("01.23.45.67.89", "[phone]"),
    ("0171-1234567", "[phone]"),
    ("07911123456", "[phone]"),
    ("138 0013 8000", "[phone]"),
    ("+86-138-0013-8000", "[phone]"),
    ("Phone: 2125550123", "Phone: [phone]"),
    ("tel. no. 5550123 at night", "tel. no. [phone] at night"),
    ("call me on 212 555 0123", "call me on [phone]"),
    ("card 4111 1111 1111 1111 please", "card [card] please"),
    ("4111111111111111", "[card]"),
    ("5500-0000-0000-0004", "[card]"),
    ("3782 822463 10005", "[card]"),
    ("6011000990139424.", "[card]."),
    ("DE89 3704 0044 0532 0130 00", "[iban]"),
    ("DE89370400440532013000 and more", "[iban] and more"),
    ("pay GB29 NWBK 6016 1331 9268 19 TODAY", "pay [iban] TODAY"),
    ("fr1420041010050500013M02606", "[iban]"),
    ("from 192.168.0.1:8080", "from [ip]:8080"),
    ("(10.1.2.3)", "([ip])"),
    ("host 8.8.8.8.", "host [ip]."),
    ("2001:db8::8a2e:370:7334", "[ip]"),
    ("[::1]:80", "[[ip]]:80"),
    ("fe80::1ff:fe23:4567:890a!", "[ip]!"),
    ("::ffff:192.0.2.128", "[ip]"),
    ("key sk-abcdefghijklmnop1234", "key [secret]"),
    ("sk-proj-Abc_def-1234567890abcdef", "[secret]"),
    ("ghp_" + "a1B2" * 9, "[secret]"),
    ("AKIAIOSFODNN7EXAMPLE", "[secret]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123", "[secret]"),
    ("Authorization: Bearer abcdef0123456789abcdef", "Authorization: [secret]"),
    ("ih_" + "x" * 43, "[secret]"),
    ("xoxb-1234567890-abcdefghij", "[secret]"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE+/=\n-----END RSA PRIVATE KEY-----", "[secret]"),
]
LEFT_ALONE = [
    "On 2024-01-31 at 09:30:00 the index closed at 17,245.35 points.",
    "2024-01-31T09:30:00.000123Z",
    "01-02-2024 15:30",
    "31/12/2023 23:59:59",
    "02-12-2024 15 of 20",
    "01.02.2024, 12.03.2024",
    "from 1999-2004 and 2010 - 2020",
    "0.5 0.25 0.125 1.75",
    "+1.25 -0.75 +2.10 -3.05",
    "+1.25 12.30 11.20 14.85",
    "Revenue rose +12,345,678 to $1,234,567,890.12 (EUR 1 234 567,89)",
    "The market cap is 2800000000000 dollars, 13800000000 shares trade.",
    "v1.2.3.4 and version 10.0.0.1, release 2.4.1.0",
    "numpy==1.26.4.1, python>=3.11",
    "10.0.19041.1 and 1.2.3.4.5",
    "section 4.3.2.1-b",
    "BRK.B, 600519.SS, 7203.T, AAPL, 0700.HK, BTC-USD, ES=F",
    "ISIN US0378331005 DE0007164600 GB0002634946",
    "CUSIP 037833100, LEI 549300EXAMPLE00LEI17",
    "timestamp 1706693400 or 1706693400123",
    "id 01a1fce9-154a-7640-bd3f-aa00ddc9e4ba",
    "order 4111 1111 1111 1112",
    "1234567890123456 is no card",
    "4012.88 8888.88 1881.00",
    "DE89 3704 0044 0532 0130 01",
    "AB12 3456 7890 1234 5678",
    "at 10:30, 12:45:59 and 00:1a:2b:3c:4d:5e",
    "std::vector<int>, Foo::Bar::baz(), a::b",
    "@handle, foo@bar, 3 apples @ 4.50",
    "icon@2x.png",
    "npm i left-pad@1.3.0",
    "risk-adjusted sk-learn task-oriented desk-bound",
    "the bearer of good news, bearer bonds outstanding",
    "eyJust a word. eyJet.",
    "scores 21-17-2004, 3-2-1, 100-200-300",
    "CIK 0000320193, zip 94105-1234, SSN-like 078-05-1120",
    "phone sales rose 12.5% in 2024",
    "call options expire 2024-06-21",
    "call 1,000,000 people",
    "EPS 0.12 vs 0.10; 52-week 101.20-199.62; P/E 25.3",
    "52 300 000 and 250 300 400",
    "ratios 1/2 3/4 10/12/2023",
    "#1234567890 and §12345678",
]


@pytest.mark.parametrize(("text", "redacted"), FOUND, ids=[one[0][:40] for one in FOUND])
def test_found(text: str, redacted: str) -> None:
    assert EVERYTHING.apply(text) == redacted


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_left_alone(text: str) -> None:
    assert EVERYTHING.apply(text) == text


def test_a_rule_that_is_not_named_does_nothing() -> None:
    text = "joe@example.com +14155550123"
    assert Redactor((), {}).apply(text) == text
    assert Redactor(("phone",), {}).apply(text) == "joe@example.com [phone]"


def test_every_text_of_a_json_value_is_redacted_and_no_key() -> None:
    value = {
        "joe@example.com": ["to joe@example.com", 4111111111111111, None, True, 0.5],
        "deep": [{"er": ("a@b.co", {"still": "c@d.org"})}],
    }
    assert EVERYTHING.apply(value) == {
        "joe@example.com": ["to [email]", 4111111111111111, None, True, 0.5],
        "deep": [{"er": ["[email]", {"still": "[email]"}]}],
    }


def test_own_patterns() -> None:
    own = Redactor(("email",), {"badge": r"\bB-\d{4}\b", "name": "(?i)jane doe"})
    assert (
        own.apply("B-1234 is Jane Doe, j@doe.org, B-12345") == "[badge] is [name], [email], B-12345"
    )
    assert Redactor((), {"back": r"x(\d)"}).apply(r"x1 \1") == r"[back] \1"


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(Invalid, match="'mail'") as caught:
        Redactor(("email", "mail"), {})
    assert caught.value.code == "redaction"
    assert "secret, email" in caught.value.hint


@pytest.mark.parametrize(
    "pattern",
    [
        "(", "[z-a]", "a{5,2}", "*", "", "a*", "(?:x|)", "a" * 501,
        "(a+)+", "(a*)*b", "(?:a|aa)+$", "(\\w+\\s?)*x", "((ab)*c)+", "(a|b|ab)*c", "(.*a){20}",
        "(?=(a+)+)b", "(?:(?:x+)y?)+z", "([a-z]{1,9}-){2,99}", "\\s*a\\s*b\\s*c\\s*d",
        "(?:a?){30}a{30}", "(x)(?(1)(a+)+|b)", "a?" * 30 + "a" * 30, "(a|aa)" * 20 + "!",
        "[a-z]+[a-z]+[a-z]+!", "[A-Z]+\\w*\\d+", "x.*y.*z", "(?i)x[a-z]+[A-Z]+!", "x[^a]+\\w+!",
        "x(?=\\w+!)\\w+y", "\\w+@\\w+", "\\d+$", "<[^>]+>", "key=.*;", "\\b[\\w.-]+@",
        "(?m)^\\s*x", "a?a(?:a+b|c)", "-" + "(?:" * 9 + "a?" + "){16}" * 9,
    ],
)  # fmt: skip
def test_a_pattern_that_is_none_or_could_run_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid, match="'mine'") as caught:
        Redactor((), {"mine": pattern})
    assert caught.value.code == "redaction"


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d+", r"\bEMP-\d{3,9}\b", "(?:foo|bar)-[0-9a-f]{8}", r"(?i)patient\s+\w+",
        r"[A-Z]{2}(?: \d{3}){3}", r"(?:\d{4}-){3}\d{4}", r"(?<=ssn )\d{3}-\d\d-\d{4}",
        r"(?P<a>x)(?P=a)", r"(?:[A-Z][a-z]{1,20} ?){2,4}", r"order-\d+", r"\b[A-Z]+-\d+",
        r"\b\d+\b", r"(?<!\d)\d+-\d+(?!\d)", r"(?i)password[=:]\s*\S+", r"<[^<>]+>", r"^\s*\w+:",
        r"(?:\+\d{1,3})?[ -]?\(?\d{1,4}\)?[ -]?\d{1,4}[ -]?\d{1,9}x", r"[A-Z]{1,3}-\d+|\bEMP\d+",
        r"(?m)^secret .*$", r"xa+b+c+", r"(?i)(mr|mrs|dr)\.? [a-z]+", r"\w{1,64}@\w{1,64}",
    ],
)  # fmt: skip
def test_a_usual_pattern_is_taken(pattern: str) -> None:
    Redactor((), {"mine": pattern})


PIECES = st.sampled_from(
    [*"ab-", r"\d", r"\w", "[a-c]", "[^a]", ".", "a?", "b*", r"\w+", "(?:a|ab)", r"\b", "^"]
)


@settings(max_examples=200)
@given(st.lists(PIECES, min_size=1, max_size=6).map("".join), st.sampled_from("ab1-"))
def test_a_pattern_that_is_taken_ends_soon(pattern: str, character: str) -> None:
    try:
        compiled = check_pattern("mine", pattern)
    except Invalid:
        return
    began = time.process_time()
    compiled.sub("", character * 20_000 + "!")
    assert time.process_time() - began < 2.0


WORDS = st.lists(
    st.one_of(
        st.dates().map(str),
        st.datetimes().map(str),
        st.times().map(str),
        st.integers(1900, 2100).map(str),
        st.decimals(-9_999, 9_999, places=2, allow_nan=False).map(str),
        st.integers(0, 999_999).map("{:,}".format),
        st.from_regex(r"\A[A-Z]{1,5}(\.[A-Z])?\Z"),
        st.tuples(*[st.integers(0, 99)] * 3).map(lambda part: "v" + ".".join(map(str, part))),
        st.sampled_from(["rose", "%", "Q3", "per share", "from", "to", "EUR", "$", "the", "on"]),
    ),
    max_size=12,
).map(", ".join)


@settings(max_examples=300, deadline=None)
@given(WORDS)
def test_dates_prices_versions_and_tickers_survive(text: str) -> None:
    assert EVERYTHING.apply(text) == text


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.sampled_from(FOUND), st.text(max_size=60))
def test_once_is_enough(before: str, found: tuple[str, str], after: str) -> None:
    once = EVERYTHING.apply(before + found[0] + after)
    assert EVERYTHING.apply(once) == once


@given(st.from_regex(r"\A4[0-9]{15}\Z"))
def test_one_in_ten_numbers_is_a_card(digits: str) -> None:
    cards = [digits[:-1] + last for last in "0123456789" if is_card(digits[:-1] + last)]
    assert len(cards) == 1
    assert EVERYTHING.apply(f"({cards[0]})") == "([card])"


@given(st.from_regex(r"\A[0-9]{18}\Z"))
def test_one_in_many_numbers_is_an_account(body: str) -> None:
    checked = [f"DE{check:02d}{body}" for check in range(2, 99) if is_iban(f"DE{check:02d}{body}")]
    assert len(checked) == 1
    assert EVERYTHING.apply(f"to {checked[0]}.") == "to [iban]."


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "1 " * 100_000, "a@" * 100_000, "+1-" * 60_000, "::" * 100_000,
             "sk-" * 60_000, "a." * 100_000, "DE12 " * 40_000, "0-" * 100_000, "call " * 40_000]
)  # fmt: skip
def test_long_texts_are_left_alone_in_linear_time(text: str) -> None:
    """A rule that backtracks over a text of this length would not come back."""
    assert EVERYTHING.apply(text) == text
