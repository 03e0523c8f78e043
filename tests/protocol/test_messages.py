import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.protocol.decoding import QUOTED, decode_client, decode_server, quote
from galileod.protocol.encoding import (
    encode_close,
    encode_error,
    encode_finished,
    encode_metadata,
    encode_ready,
)
from galileod.protocol.errors import FaultCode, RemoteProtocolError
from galileod.protocol.messages import (
    MAX_SIZE,
    Close,
    Error,
    Finished,
    HashClaim,
    Ignored,
    Metadata,
    Ready,
)

ANY_TEXT = st.text(st.characters())
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
KEYS = ("name", "size", "finished", "hash", "ready", "chunksize", "close", "error", "fatal", "type")
NEAR_SIGNALS = st.dictionaries(st.sampled_from(KEYS) | ANY_TEXT, JSON_VALUES, max_size=5).map(
    json.dumps
)


@pytest.mark.parametrize(
    ("text", "signal"),
    [
        ('{"name": "a.txt", "size": 10}', Metadata("a.txt", 10)),
        ('{"name": "", "size": 0}', Metadata("", 0)),
        ('{"name": "a", "size": 9223372036854775807}', Metadata("a", MAX_SIZE)),
        ('{"name": "a", "size": 1, "directory": "x", "type": null}', Metadata("a", 1)),
        ('{"name": "a", "size": 1, "finished": false}', Metadata("a", 1)),
        ('{"name": "\\ud800", "size": 1}', Metadata("\ud800", 1)),
        ('{"name": "a", "size": 1, "token": "secret"}', Metadata("a", 1, "secret")),
        ('{"name": "a", "size": 1, "token": 7}', Metadata("a", 1)),
        (' \n{"size": 1, "name": "a"}\t', Metadata("a", 1)),
        ('{"finished": true}', Finished()),
        ('{"finished": 1}', Finished()),
        ('{"finished": true, "name": "a"}', Finished()),
        ('{"finished": true, "hash": null}', Finished()),
        (
            '{"finished": true, "hash": {"type": "SHA1", "value": "AbC", "more": 1}}',
            Finished(HashClaim("sha1", "abc")),
        ),
        ('{"finished": true, "hash": {"type": "", "value": ""}}', Finished(HashClaim("", ""))),
        ("{}", Ignored()),
        ('{"finished": false}', Ignored()),
        ('{"finished": 1.0}', Ignored()),
        ('{"finished": "true"}', Ignored()),
        ('{"finished": 2}', Ignored()),
        ('{"ready": true}', Ignored()),
        ('{"error": "x", "fatal": true}', Ignored()),
        ('{"hash": 5}', Ignored()),
    ],
)
def test_a_signal_of_the_client_is_read(text: str, signal: object) -> None:
    assert decode_client(text) == signal


@pytest.mark.parametrize(
    ("text", "signal"),
    [
        ('{"ready": true}', Ready()),
        ('{"ready": 1}', Ready()),
        ('{"ready": true, "chunksize": 65536}', Ready(65536)),
        ('{"ready": true, "chunksize": 0}', Ready()),
        ('{"ready": true, "chunksize": -5}', Ready()),
        ('{"ready": true, "chunksize": true}', Ready()),
        ('{"ready": true, "chunksize": "9"}', Ready()),
        ('{"ready": true, "chunksize": 9.5}', Ready()),
        ('{"ready": true, "chunksize": null, "more": []}', Ready()),
        ('{"close": true}', Close()),
        ('{"close": 1}', Close()),
        ('{"close": true, "name": "a (1).txt"}', Close("a (1).txt")),
        ('{"close": true, "name": ["a"]}', Close()),
        ('{"close": true, "path": "june/a.txt"}', Close(path="june/a.txt")),
        ('{"close": true, "path": 5, "file": 3}', Close(file=3)),
        ('{"close": false}', Ignored()),
        ('{"ready": "true"}', Ignored()),
        ('{"ready": 1.0}', Ignored()),
        ('{"error": null}', Ignored()),
        ('{"error": ""}', Ignored()),
        ('{"error": false, "fatal": true}', Ignored()),
        ('{"error": 0, "ready": true}', Ready()),
        ('{"name": "a", "size": 1}', Ignored()),
        ("{}", Ignored()),
    ],
)
def test_a_signal_of_the_server_is_read(text: str, signal: object) -> None:
    assert decode_server(text) == signal


@pytest.mark.parametrize(
    ("members", "reason", "fatal"),
    [
        ({"error": "full"}, "full", False),
        ({"error": "full", "fatal": True}, "full", True),
        ({"error": "full", "fatal": 1}, "full", True),
        ({"error": "full", "fatal": 0}, "full", False),
        ({"error": "full", "fatal": None, "limit": 5}, "full", False),
        ({"error": True, "fatal": True}, True, True),
        ({"error": 7}, 7, False),
        ({"error": 7.5}, 7.5, False),
        ({"error": {"why": [1]}}, '{"why": [1]}', False),
        ({"error": ["x"], "ready": True}, '["x"]', False),
        ({"error": "x", "close": True}, "x", False),
        ({"error": {}, "ready": True}, "{}", False),
        ({"error": [], "fatal": True}, "[]", True),
    ],
)
def test_an_error_of_the_server_is_read_with_all_its_keys(
    members: dict[str, object], reason: object, *, fatal: bool
) -> None:
    assert decode_server(json.dumps(members)) == Error(reason, fatal, members)  # type: ignore[arg-type]


NO_SIGNALS = [
    "",
    " ",
    "nonsense",
    "{",
    "{'name': 1}",
    '{"name": "a"} x',
    '{"name": "a", "size": 1',
    '{"name": "a", "size": 01}',
    '{"name": "a\nb", "size": 1}',
    "\ufeff{}",
    "[]",
    "null",
    "true",
    "5",
    '"text"',
    "[" * 100_000,
    "[" * 100_000 + "]" * 100_000,
    '{"a":' * 100_000,
    '{"name": "a", "size": NaN}',
    '{"name": "a", "size": Infinity}',
    '{"ready": true, "chunksize": -Infinity}',
    '{"size": 1, "name": "a", "size": 2}',
    '{"ready": true, "ready": true}',
    '{"name": "a", "size": 1, "more": {"x": 1, "x": 1}}',
    '{"name": "a", "size": ' + "9" * 5000 + "}",
]


@pytest.mark.parametrize("text", NO_SIGNALS, ids=lambda text: repr(text[:30]))
def test_a_text_that_is_no_signal_is_a_bad_message_from_either_side(text: str) -> None:
    for decode in (decode_client, decode_server):
        with pytest.raises(RemoteProtocolError) as caught:
            decode(text)
        assert caught.value.code is FaultCode.BAD_MESSAGE
        assert len(caught.value.reason) < 400
        assert caught.value.reason.isascii()


@pytest.mark.parametrize(
    "size",
    [
        *("-1", "1.5", "10.0", "1e3", "1e999", "true", "false", "null", '"10"', "[1]", "{}"),
        *("9223372036854775808", "9" * 4000),
    ],
    ids=lambda size: str(size[:20]),
)
def test_a_wrong_size_is_bad_metadata_and_names_the_key(size: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_client(f'{{"name": "a", "size": {size}}}')
    assert (caught.value.code, caught.value.details) == (FaultCode.BAD_METADATA, {"key": "size"})


@pytest.mark.parametrize("name", ["null", "1", "true", '["a"]', "{}"])
def test_a_wrong_name_is_bad_metadata_and_names_the_key(name: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_client(f'{{"name": {name}, "size": 1}}')
    assert (caught.value.code, caught.value.details) == (FaultCode.BAD_METADATA, {"key": "name"})


@pytest.mark.parametrize(("text", "key"), [('{"size": 1}', "name"), ('{"name": "a"}', "size")])
def test_half_of_the_metadata_is_bad_metadata(text: str, key: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_client(text)
    assert (caught.value.code, caught.value.details) == (FaultCode.BAD_METADATA, {"key": key})


@pytest.mark.parametrize(
    "claim",
    [
        *('"abc"', "5", "true", "[]", "{}", '{"type": "sha1"}', '{"value": "ab"}'),
        *('{"type": 1, "value": "ab"}', '{"type": "sha1", "value": null}'),
    ],
)
def test_a_hash_of_another_form_is_a_bad_message(claim: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_client(f'{{"finished": true, "hash": {claim}}}')
    assert caught.value.code is FaultCode.BAD_MESSAGE


def test_an_error_nested_to_any_depth_is_read_or_refused() -> None:
    refused = 0
    for depth in range(500, 1100):
        brackets = "[" * depth + "]" * depth
        try:
            signal = decode_server(f'{{"error": {brackets}}}')
        except RemoteProtocolError:
            refused += 1
        else:
            assert isinstance(signal, Error)
            assert signal.reason == brackets
    assert refused < 600


@given(ANY_TEXT | NEAR_SIGNALS)
def test_any_text_gives_a_client_signal_or_a_remote_error(text: str) -> None:
    try:
        signal = decode_client(text)
    except RemoteProtocolError as error:
        assert error.code in (FaultCode.BAD_MESSAGE, FaultCode.BAD_METADATA)  # noqa: PT017
    else:
        assert isinstance(signal, Metadata | Finished | Ignored)


@given(ANY_TEXT | NEAR_SIGNALS)
def test_any_text_gives_a_server_signal_or_a_remote_error(text: str) -> None:
    try:
        signal = decode_server(text)
    except RemoteProtocolError as error:
        assert error.code is FaultCode.BAD_MESSAGE  # noqa: PT017
    else:
        assert isinstance(signal, Ready | Close | Error | Ignored)


@given(ANY_TEXT, st.integers(0, MAX_SIZE))
def test_metadata_reads_back_as_written(name: str, size: int) -> None:
    assert decode_client(encode_metadata(Metadata(name, size))) == Metadata(name, size)


@given(st.none() | st.builds(HashClaim, ANY_TEXT.map(str.lower), ANY_TEXT.map(str.lower)))
def test_finished_reads_back_as_written_but_for_case(claim: HashClaim | None) -> None:
    lower = claim and HashClaim(claim.type.lower(), claim.value.lower())
    assert decode_client(encode_finished(Finished(claim))) == Finished(lower)


@given(st.none() | st.integers(1, MAX_SIZE))
def test_ready_reads_back_as_written(chunksize: int | None) -> None:
    assert decode_server(encode_ready(chunksize)) == Ready(chunksize)


@given(st.none() | ANY_TEXT, st.none() | ANY_TEXT, st.integers(0))
def test_close_reads_back_as_written(name: str | None, path: str | None, file: int) -> None:
    text = encode_close(name, file=file, path=path)
    assert decode_server(text) == Close(name, file=file, path=path)


@given(ANY_TEXT.filter(bool), st.sampled_from(FaultCode), st.integers())
def test_an_error_reads_back_as_written(reason: str, code: FaultCode, limit: int) -> None:
    signal = decode_server(encode_error(reason, code, {"limit": limit}))
    members = {"limit": limit, "error": reason, "fatal": True, "code": code.value}
    assert signal == Error(reason, fatal=True, details=members)


def test_details_do_not_replace_the_fixed_keys_of_an_error() -> None:
    text = encode_error("why", FaultCode.IDLE, {"error": "x", "fatal": False, "code": "y"})
    assert json.loads(text) == {"error": "why", "fatal": True, "code": "idle"}


@pytest.mark.parametrize(
    ("encoded", "members"),
    [
        (encode_ready(None), {"ready": True}),
        (encode_ready(5), {"ready": True, "chunksize": 5}),
        (encode_close(), {"close": True}),
        (encode_close("b (1)"), {"close": True, "name": "b (1)"}),
        (encode_close(file=2, path="x/b"), {"close": True, "path": "x/b", "file": 2}),
        (encode_finished(Finished()), {"finished": True}),
        (
            encode_finished(Finished(HashClaim("sha1", "ab"))),
            {"finished": True, "hash": {"type": "sha1", "value": "ab"}},
        ),
        (encode_metadata(Metadata("a", 1)), {"name": "a", "size": 1}),
        (encode_metadata(Metadata("a", 1, "t")), {"name": "a", "size": 1, "token": "t"}),
    ],
)
def test_a_signal_is_written_with_the_keys_of_the_protocol(
    encoded: str, members: dict[str, object]
) -> None:
    assert json.loads(encoded) == members


@given(ANY_TEXT)
def test_a_quoted_text_is_short_plain_ascii_on_one_line(text: str) -> None:
    quoted = quote(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert len(quoted) <= 12 * QUOTED + 5


def test_a_token_does_not_show() -> None:
    assert "secret" not in repr(Metadata("a", 1, "secret"))
