"""Whatever bytes come as a body: a value, or an error of ours that says why in our words."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inhouse.api.body import convert, parse
from inhouse.api.problems import BadRequest, FieldError
from inhouse.client.batch import BatchRequest
from inhouse.client.models import ChatRequest, FeedbackRequest, RunRequest

VALID: dict[type[msgspec.Struct], bytes] = {
    RunRequest: b'{"input":"Profits \\u00fc\\ud83d\\ude00 rose.","unit":"u","tags":{"a":"b"}}',
    BatchRequest: b'{"inputs":[{"input":"a","tags":{"k":"v"}},{"input":"b"}],"model":"local/x"}',
    FeedbackRequest: b'{"interaction_id":"%b","kind":"rating","value":0.5,"author":"ada"}'
    % (b"0" * 36),
    ChatRequest: b'{"model":"task:x","messages":[{"role":"user","content":"hi"}],"stream":false,'
    b'"n":1,"metadata":{"a":"b"},"tools":[{"type":"function"}]}',
}
DECODERS: dict[type[msgspec.Struct], Any] = {kind: msgspec.json.Decoder(kind) for kind in VALID}
THEIRS = ("Expected", "expected `", "`object`", "`str`", "`array`", "msgspec", "malformed", "$")
PIECES = [
    *(b'{ } [ ] " : , \\ null true -1 1e999 0.1 NaN Infinity \\ud800 \\udc00 \\u00 \xff'.split()),
    *(b'\xed\xa0\x80|\xef\xbb\xbf|\x00|\xc3| - at `$.x`|`key` in `$`|""|"input"'.split(b"|")),
    b"1" * 400,
    b"[" * 300,
    b'{"a":' * 300,
]


def told(read: Callable[[], Any]) -> FieldError | None:
    """The refusal of a body; None when it was read."""
    try:
        read()
    except FieldError as error:
        return error
    return None


def judge(body: bytes, kind: type[msgspec.Struct]) -> None:
    """Read a body in both ways that the routes do, and look at what is said of it."""
    whole = told(lambda: parse(DECODERS[kind], body))
    later = told(lambda: convert(parse(msgspec.json.Decoder(), body), kind))
    for error in filter(None, (whole, later)):
        words = error.message.replace(error.field, "") if error.field else error.message
        assert not [word for word in THEIRS if word in words], error.message
        assert len(error.message) < 300
        assert error.code == "not-json" or not isinstance(error, BadRequest)
        error.message.encode()


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(list(VALID)))
@example(b"", RunRequest)
@example(b'{"input":"a","x - at `$.y":1}', RunRequest)
def test_random_bytes(body: bytes, kind: type[msgspec.Struct]) -> None:
    judge(body, kind)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.data())
def test_valid_bodies_with_another_value_in_a_field(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(VALID)))
    body = msgspec.json.decode(VALID[kind])
    name = data.draw(st.sampled_from([*body, "unknown", "", "`", "$"]))
    body[name] = data.draw(JSON)
    judge(msgspec.json.encode(body), kind)


@pytest.mark.parametrize("kind", VALID)
def test_mutated_bodies(kind: type[msgspec.Struct]) -> None:
    rng = random.Random(f"mutations of {kind.__name__}")
    for _ in range(2500):
        body = bytearray(VALID[kind])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(body) + 1)
            match rng.randrange(5):
                case 0:
                    body[at:at] = rng.choice(PIECES)
                case 1:
                    del body[at : at + rng.randint(1, 8)]
                case 2:
                    body[at : at + 1] = bytes([rng.randrange(256)])
                case 3:
                    del body[at:]
                case _:
                    end = min(len(body), at + rng.randint(1, 30))
                    body[at:at] = body[at:end]
        judge(bytes(body), kind)
