"""Speaks HTTP/2 over TLS in frames that are made by hand, and prints one line of JSON for each rule: what the server had
to do, and what it did. Each rule has a connection of its own.

    http2_frames.py HOST PORT STREAM_PATH
"""

import json
import socket
import ssl
import struct
import sys

from hpack import Decoder, Encoder
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CODES = {0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 3: "FLOW_CONTROL_ERROR", 5: "STREAM_CLOSED", 6: "FRAME_SIZE_ERROR",
         7: "REFUSED_STREAM", 8: "CANCEL", 9: "COMPRESSION_ERROR", 11: "ENHANCE_YOUR_CALM"}
DATA, HEADERS, RST, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PATIENCE = 20
# What the server allows at once.
STREAMS = 100

host, port, stream_path = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Connection:
    def __init__(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection((host, port), timeout=PATIENCE)
        self.socket = context.wrap_socket(raw, server_hostname="localhost")
        assert self.socket.selected_alpn_protocol() == "h2", "ALPN"
        self.encoder, self.decoder, self.bytes = Encoder(), Decoder(), b""
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # It has closed; what it said before is still to be read.

    def block(self, path="/livez", method="GET", more=(), leave_out=()):
        fields = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path), *more]
        return self.encoder.encode([(name, value) for name, value in fields if name not in leave_out])

    def get(self, stream, path="/livez", **others):
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, self.block(path, **others)))

    def frames(self):
        """What the server says, up to its end."""
        while True:
            while len(self.bytes) < 9 or len(self.bytes) < 9 + int.from_bytes(self.bytes[:3], "big"):
                try:
                    more = self.socket.recv(65536)
                except (ConnectionError, ssl.SSLError):
                    return
                if not more:
                    return
                self.bytes += more
            size = 9 + int.from_bytes(self.bytes[:3], "big")
            head, body, self.bytes = self.bytes[:9], self.bytes[9:size], self.bytes[size:]
            found, _ = Frame.parse_frame_header(memoryview(head))
            found.parse_body(memoryview(body))
            yield found

    def outcome(self, stream=None, wanted=None):
        """The first word of the server that says what it makes of `stream` or of the connection."""
        for found in self.frames():
            if isinstance(found, GoAwayFrame) and found.error_code:
                return f"goaway {CODES.get(found.error_code, found.error_code)}"
            if isinstance(found, RstStreamFrame) and found.stream_id == stream:
                return f"reset {CODES.get(found.error_code, found.error_code)}"
            if isinstance(found, HeadersFrame):
                fields = dict(self.decoder.decode(found.data))
                if found.stream_id == stream:
                    return f"answer {fields.get(':status')}"
            if wanted and wanted(found):
                return "done"
        return "closed"


def pong(found):
    return isinstance(found, PingFrame) and "ACK" in found.flags and bytes(found.opaque_data) == b"8 bytes."


def ping():
    return frame(PING, 0, 0, b"8 bytes.")


def settings_are_acknowledged(c):
    return c.outcome(wanted=lambda found: isinstance(found, SettingsFrame) and "ACK" in found.flags)


def a_ping_comes_back(c):
    c.send(ping())
    return c.outcome(wanted=pong)


def a_request_is_answered(c):
    c.get(1)
    return c.outcome(1)


def frames_of_other_kinds_are_passed_over(c):
    c.send(frame(0xBE, 0xFF, 0, b"later") + frame(0xBF, 0, 1, b"") + ping())
    return c.outcome(wanted=pong)


def sent(*frames):
    def play(c):
        c.send(b"".join(frames))
        return c.outcome(1)
    return play


def a_block_in_a_block(c):
    c.send(frame(HEADERS, 0, 1, c.block()) + frame(HEADERS, END_HEADERS, 3, c.block()))
    return c.outcome(1)


def header(*more, leave_out=()):
    def play(c):
        c.get(1, more=more, leave_out=leave_out)
        return c.outcome(1)
    return play


def from_us(stream):
    def play(c):
        c.get(stream)
        return c.outcome(stream)
    return play


def an_earlier_stream(c):
    c.get(5)
    assert c.outcome(5) == "answer 200"
    c.get(3)
    return c.outcome(3)


def one_too_many(c):
    """Streams that have no end, and one more. Bodies are not let in, so that the answers are heads alone."""
    c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
    for number in range(STREAMS):
        c.get(2 * number + 1, stream_path)
    last = 2 * STREAMS + 1
    c.get(last, stream_path)
    return c.outcome(last)


def many_resets(c):
    for number in range(3000):
        stream = 2 * number + 1
        c.send(frame(HEADERS, END_HEADERS, stream, c.block(stream_path)) + frame(RST, 0, stream, struct.pack(">I", 8)))
    return c.outcome()


def a_block_without_end(c):
    c.send(frame(HEADERS, END_STREAM, 1, c.block()))
    piece = c.encoder.encode([(f"x-{number}", "v" * 200) for number in range(40)])
    for _ in range(300):
        c.send(frame(CONTINUATION, 0, 1, piece[:8000]))
    return c.outcome(1)


# The library that the proxy speaks HTTP/2 with has one code for every frame that cannot be read.
UNREADABLE = "goaway PROTOCOL_ERROR"
GONE = {"closed", "goaway PROTOCOL_ERROR", "goaway ENHANCE_YOUR_CALM", "goaway FRAME_SIZE_ERROR", "goaway COMPRESSION_ERROR",
        "reset PROTOCOL_ERROR", "answer 431"}
MALFORMED = {"reset PROTOCOL_ERROR", "goaway PROTOCOL_ERROR", "answer 400"}
BIG = b"\0" * 16385
RULES = [
    ("RFC 9113 §6.5.3: settings are acknowledged", settings_are_acknowledged, {"done"}),
    ("§6.7: a ping comes back with its bytes", a_ping_comes_back, {"done"}),
    ("§8.1: a request is answered", a_request_is_answered, {"answer 200"}),
    ("§5.5: frames of other kinds are passed over", frames_of_other_kinds_are_passed_over, {"done"}),
    ("§5.1: data on a stream that nobody opened", sent(frame(DATA, 0, 1, b"x")), {"goaway PROTOCOL_ERROR", "goaway STREAM_CLOSED"}),
    ("§5.1: a window for a stream that nobody opened", sent(frame(WINDOW, 0, 1, struct.pack(">I", 1))), {"goaway PROTOCOL_ERROR"}),
    ("§5.1: a reset of a stream that nobody opened", sent(frame(RST, 0, 1, struct.pack(">I", 8))), {"goaway PROTOCOL_ERROR"}),
    ("§5.1.1: an even number", from_us(2), {"goaway PROTOCOL_ERROR"}),
    ("§5.1.1: a number below one that was used", an_earlier_stream, {"goaway PROTOCOL_ERROR", "goaway STREAM_CLOSED"}),
    ("§4.2: a frame of more than the size that was agreed", sent(frame(DATA, 0, 1, BIG)), {"goaway FRAME_SIZE_ERROR"}),
    ("§6.5: settings on a stream", sent(frame(SETTINGS, 0, 1)), {"goaway PROTOCOL_ERROR"}),
    ("§6.5: settings of a broken size", sent(frame(SETTINGS, 0, 0, b"\0" * 5)), {"goaway FRAME_SIZE_ERROR", UNREADABLE}),
    ("§6.5.2: a first window that is too large", sent(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31))), {"goaway FLOW_CONTROL_ERROR", UNREADABLE}),
    ("§6.7: a ping of seven bytes", sent(frame(PING, 0, 0, b"7 bytes")), {"goaway FRAME_SIZE_ERROR", UNREADABLE}),
    ("§6.7: a ping on a stream", sent(frame(PING, 0, 1, b"8 bytes.")), {"goaway PROTOCOL_ERROR"}),
    ("§6.9: a window that grows by nothing", sent(frame(WINDOW, 0, 0, struct.pack(">I", 0))), {"goaway PROTOCOL_ERROR"}),
    ("§6.9.1: a window of more than 31 bits", sent(frame(WINDOW, 0, 0, struct.pack(">I", 2**31 - 1)) * 2), {"goaway FLOW_CONTROL_ERROR"}),
    ("§6.10: a continuation of nothing", sent(frame(CONTINUATION, END_HEADERS, 1)), {"goaway PROTOCOL_ERROR"}),
    ("§6.2: a block inside another", a_block_in_a_block, {"goaway PROTOCOL_ERROR"}),
    ("§4.3: a block that cannot be read", sent(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
     {"goaway COMPRESSION_ERROR", UNREADABLE}),
    ("§8.2.1: a name in capitals", header(("X-Capital", "1")), MALFORMED),
    ("§8.2.2: a field of the connection", header(("connection", "keep-alive")), MALFORMED),
    ("§8.3: a pseudo-field after others", header(("x-a", "1"), (":path", "/readyz")), MALFORMED),
    ("§8.3.1: no path", header(leave_out=(":path",)), MALFORMED),
    ("§8.3: a pseudo-field that nobody defined", header((":other", "1")), MALFORMED),
    ("§5.1.2: more streams than may be open", one_too_many, {"reset REFUSED_STREAM"}),
    ("§10.5: streams that are opened and reset without end", many_resets, {"goaway ENHANCE_YOUR_CALM", "closed"}),
    ("§10.5.1: a block of fields without end", a_block_without_end, GONE),
    ("a new connection is served after all that", a_request_is_answered, {"answer 200"}),
]

for rule, play, expected in RULES:
    connection = Connection()
    try:
        said = play(connection)
    except TimeoutError:
        said = "nothing in time"
    finally:
        connection.socket.close()
    print(json.dumps({"rule": rule, "said": said, "expected": sorted(expected), "kept": said in expected}), flush=True)
