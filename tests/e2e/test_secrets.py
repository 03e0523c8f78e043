"""What clients prove themselves with stands neither in the log nor in an answer."""

from concurrent.futures import ThreadPoolExecutor

from helpers.clients import read_all, request
from helpers.daemon import Daemon, Daemons, Settings, log_time, poll
from helpers.frames import BINARY, CONTINUATION, PING, TEXT, frame, signal_frame

SECRET = "s3cr3tT1ck3t"  # noqa: S105  the point
TICKET = f"ticket={SECRET}"
BEARER = f"Bearer {SECRET}"
RAW = SECRET.encode()

HEADS = {
    "the query": request(f"/upload?{TICKET}"),
    "the query of no path of ours": request(f"/nowhere?{TICKET}"),
    "the query without an upgrade": f"GET /upload?{TICKET} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "the query of a file": f"GET /nowhere?{TICKET} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "the query of a wrong method": request(f"/upload?{TICKET}", method="POST"),
    "the query in HTTP/1.0": request(f"/upload?{TICKET}", version="1.0"),
    "the query in a version that is none": request(f"/upload?{TICKET}", version="7"),
    "the query of half a line": f"GET /upload?{TICKET}\r\n\r\n".encode(),
    "the query with a space": request(f"/upload?{TICKET} x"),
    "the query with a control character": request(f"/upload?{TICKET}\x01"),
    "the query outside ASCII": request(f"/upload?{TICKET}\xff"),
    "a whole address": request(f"ws://user:{SECRET}@x/upload?{TICKET}"),
    "an address that is none": request(f"//[{SECRET}"),
    "a method": request(method=SECRET),
    "no request at all": RAW + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02" + RAW + b"\r\n\r\n",
    "a head that never ends": b"GET /?" + RAW,
    "a head that is too long": request("/upload", {"Authorization": BEARER + "x" * 20_000}),
    "a target that is too long": b"GET /?" + RAW + b"x" * 20_000,
    "Authorization": request(headers={"Authorization": BEARER}),
    "Authorization with a control character": request(headers={"Authorization": f"{BEARER}\x01"}),
    "Authorization with a space before the colon": request(headers={"Authorization ": BEARER}),
    "Authorization without a name": request(headers={"": BEARER}),
    "Authorization and no host": request(headers={"Host": None, "Authorization": BEARER}),
    "Authorization on a line that goes on": request(headers={"A": f"b\r\n {BEARER}"}),
    "a length": request(headers={"Content-Length": SECRET}),
    "two lengths": request(headers={"Content-Length": f"1, {SECRET}"}),
    "an encoding": request(headers={"Transfer-Encoding": SECRET}),
    "a host": request(headers={"Host": f"user:{SECRET}@x"}),
    "a cookie": request(headers={"Cookie": TICKET}),
    "a protocol": request(headers={"Sec-WebSocket-Protocol": SECRET}),
    "an extension": request(headers={"Sec-WebSocket-Extensions": SECRET}),
    "a key": request(headers={"Sec-WebSocket-Key": SECRET}),
    "a WebSocket version": request(headers={"Sec-WebSocket-Version": SECRET}),
    "an upgrade": request(headers={"Upgrade": SECRET}),
    "a referrer": request(headers={"Referer": f"http://x/?{TICKET}", "Origin": "http://evil"}),
    "an origin with a query": request(headers={"Origin": f"http://evil/?{TICKET}"}),
    "an origin with a password": request(headers={"Origin": f"http://user:{SECRET}@evil"}),
    "an origin with a backslash": request(headers={"Origin": f"http://evil\\{SECRET}"}),
    "an origin that is none": request(headers={"Origin": BEARER}),
    "a client behind a proxy": request(headers={"X-Forwarded-For": SECRET}),
    "a zone behind a proxy": request(headers={"X-Forwarded-For": f"fe80::1%{SECRET}"}),
}

METADATA = signal_frame(name="a", size=3, token=SECRET)

MESSAGES = {
    "a token": METADATA + frame(BINARY, b"abc") + signal_frame(finished=True, token=SECRET),
    "a token without a name": signal_frame(size=1, token=SECRET),
    "a token beside a wrong name": signal_frame(name=5, size=1, token=SECRET),
    "a token beside a wrong size": signal_frame(name="a", size=-1, token=SECRET),
    "a token beside a size above the limit": signal_frame(name="a", size=2**60, token=SECRET),
    "a token beside a name of dots": signal_frame(name="..", size=1, token=SECRET),
    "a token that is no text": signal_frame(name="a", size=1, token=[{SECRET: 1}]),
    "a token twice": frame(TEXT, f'{{"token": "{SECRET}", "token": 1}}'.encode()),
    "a token that does not end": frame(TEXT, f'{{"token": "{SECRET}'.encode()),
    "a token with a control character": frame(TEXT, f'{{"token": "{SECRET}\n"}}'.encode()),
    "a token without quotes": frame(TEXT, f'{{"token": {SECRET}}}'.encode()),
    "a token in a list": frame(TEXT, f'["{SECRET}"]'.encode()),
    "a token alone": frame(TEXT, RAW),
    "a token that is no UTF-8": frame(TEXT, RAW + b"\xff"),
    "a token in a long signal": signal_frame(name="a", size=1, token=SECRET + "x" * 40_000),
    "a token twice in an upload": METADATA + METADATA,
    "a token in data": frame(BINARY, RAW),
    "a token in too much data": METADATA + frame(BINARY, RAW),
    "a token in a fragment": frame(CONTINUATION, RAW),
    "a token in a reserved bit": frame(TEXT, RAW, reserved=0x40),
    "a token in a large ping": frame(PING, RAW * 20),
    "a token in an unknown opcode": frame(0x3, RAW),
    "a token in a Close frame": frame(0x8, b"\x0f\xa0" + RAW),
    "a token in a wrong Close frame": frame(0x8, b"\x00\x01" + RAW),
    "a token in a Close frame in mid-upload": METADATA + frame(0x8, b"\x03\xe8" + RAW),
    "a token in an error": METADATA + signal_frame(error=SECRET, fatal=True),
}

WAYS = HEADS | {name: request() + message for name, message in MESSAGES.items()}


def say_and_hear(host: Daemon, data: bytes) -> bytes:
    """Send all of it, and nothing more; gives what was answered."""
    with host.dial() as connection:
        connection.sendall(data)
        return read_all(connection)


def test_no_way_of_sending_a_secret_brings_it_into_the_log_or_an_answer(daemon: Daemons) -> None:
    settings: Settings = {
        "log": {"level": "debug"},
        "timeouts": dict.fromkeys(("handshake", "metadata", "idle", "close"), "100ms"),
        "server": {"trusted_proxies": ["127.0.0.1"]},
    }
    host = daemon(settings)
    # Answers to invalid credentials are delayed: nobody waits for those of the others.
    with ThreadPoolExecutor(len(WAYS)) as clients:
        answers = clients.map(lambda data: say_and_hear(host, data), WAYS.values())
        told = {way for way, answer in zip(WAYS, answers, strict=True) if RAW in answer}
    # RFC 6455, section 5.5.1: a Close frame is answered with what it holds.
    assert told == {"a token in a Close frame", "a token in a Close frame in mid-upload"}
    # Each connection has ended, and with it all that is written about it.
    poll("rest", host.at_rest, host.text)
    lines = [line for line in host.text().splitlines() if SECRET in line]
    assert lines == []


def test_a_wrong_origin_is_told_as_far_as_it_is_one(daemon: Daemons) -> None:
    host = daemon()
    for origin, shown in (
        ("https://evil.example:8443", "https://evil.example:8443"),
        (f"https://user:{SECRET}@evil.example/{SECRET}?{SECRET}", "https://evil.example"),
        ("null", "null"),
        (SECRET, "null"),
    ):
        began = log_time()
        say_and_hear(host, request(headers={"Origin": origin}))
        assert host.wait_for("connection.refused", since=began)["origin"] == shown
