#!/usr/bin/env bash
# streamlink (PyPI) 8.6.3 takes two initialization sections of one file for the same.
#
# Input: a media playlist of one file in which a film and an advertisement follow each other: EXT-X-MAP is a range of that file
# (RFC 8216, 4.3.2.5), and after EXT-X-DISCONTINUITY another EXT-X-MAP another range of it. The same with another address for
# the second.
# Behaviour: initialization sections are kept by their address alone. After the discontinuity that of the film is written a
# second time, and the one of the advertisement is never asked for, so that its segments cannot be decoded. With two addresses
# both come out.
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

# The initialization of the programme, one segment of it, and both of the advertisement.
FILE = b"P" * 100 + b"p" * 1000 + b"A" * 100 + b"a" * 1000


def playlist(first, second):
    return f"""#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:4
#EXT-X-MAP:URI="{first}",BYTERANGE="100@0"
#EXTINF:4,
#EXT-X-BYTERANGE:1000@100
all.mp4
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="{second}",BYTERANGE="100@1100"
#EXTINF:4,
#EXT-X-BYTERANGE:1000@1200
all.mp4
#EXT-X-ENDLIST
"""


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith(".m3u8"):
            second = "all.mp4" if self.path == "/one.m3u8" else "all.mp4?again"
            body = playlist("all.mp4", second).encode()
        else:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            body = FILE[first : last + 1]
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


logging.getLogger("streamlink").addHandler(logging.NullHandler())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()


def watched(name):
    with HLSStream(Streamlink(), f"http://127.0.0.1:{server.server_address[1]}/{name}.m3u8").open() as stream:
        content = b"".join(iter(lambda: stream.read(8192), b""))
    return content[::100].decode().replace("p" * 10, "p").replace("a" * 10, "a")


one, two = watched("one"), watched("two")
print("streamlink 8.6.3 puts together", two, "if the second map has another address, and", one, "if it has the same")
assert two == "PpAa"
assert one == "PpPa"
PY
