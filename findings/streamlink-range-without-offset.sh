#!/usr/bin/env bash
# streamlink (PyPI) 8.6.3 plays nothing of a live stream whose segments are ranges of one file, if only the first says where it
# is.
#
# Input: a live media playlist of six ranges of one recording. The first EXT-X-BYTERANGE has an offset; each of the others
# begins where the range before it ends, as the tag means without an offset (RFC 8216, 4.3.2.2). The same playlist with all
# offsets.
# Behaviour: a live stream is entered at the third segment from the end. Its place follows from segments that are in the
# playlist but were not fetched, so there is an error for it, and the next one follows from a segment that failed: not one byte
# comes out, for as long as the stream lasts. With the offsets the last three segments are played.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check streamlink==8.6.3
python/bin/python - <<'PY'
import http.server
import logging
import threading

from streamlink import Streamlink
from streamlink.stream.hls import HLSStream

SEGMENT = 1000
logged, answers = [], {}


def playlist(explicit, ended):
    text = "#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:10\n"
    for number in range(6):
        place = f"@{number * SEGMENT}" if explicit or number == 0 else ""
        text += f"#EXTINF:1,\n#EXT-X-BYTERANGE:{SEGMENT}{place}\nrecording.ts\n"
    return text + ("#EXT-X-ENDLIST\n" if ended else "")


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, name = self.path.split("/")[1:]
        if name == "a.m3u8":
            # The stream is live when it is looked at, and over at the next look.
            answers[kind] = answers.get(kind, 0) + 1
            body = playlist(kind == "explicit", answers[kind] > 1).encode()
        else:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            body = b"".join(b"%c" % (48 + place // SEGMENT) for place in range(first, last + 1))
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Keep(logging.Handler):
    def emit(self, record):
        logged.append(record.getMessage())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
logging.getLogger("streamlink").addHandler(Keep(level=logging.ERROR))


def watched(kind):
    logged.clear()
    with HLSStream(Streamlink(), f"http://127.0.0.1:{server.server_address[1]}/{kind}/a.m3u8").open() as stream:
        content = b"".join(iter(lambda: stream.read(8192), b""))
    return content[::SEGMENT].decode(), list(logged)


explicit, implicit = watched("explicit"), watched("implicit")
print("streamlink 8.6.3 played, with all offsets:", *explicit, "and with the first alone:", *implicit)
assert explicit == ("345", [])
assert implicit == ("", [f"Failed to fetch segment {number}: Missing BYTERANGE offset" for number in (13, 14, 15)])
PY
