#!/usr/bin/env bash
# FFmpeg 8 (libavformat 62.12, in av 18.1.0 of PyPI) does not know EXT-X-GAP: it asks for the segments of a gap, and plays them.
#
# Input: a media playlist of three segments, the second marked with EXT-X-GAP (RFC 8216bis, 4.4.4.7: the client must not load it).
# Behaviour: with the segment missing on the server, the demuxer asks for it, logs an error and goes on. With the segment present,
# it is decoded like any other: 150 pictures instead of 100. So a server cannot use a gap to withdraw a segment from players that
# stand on FFmpeg, and one that announces gaps must expect, and must answer, a request for each.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.3.5
python/bin/python - <<'PY'
import http.server
import os
import threading

import av
import numpy

av.logging.set_level(av.logging.PANIC)


def segment(name, first):
    """Fifty pictures of two seconds, from picture number `first` on."""
    container = av.open(name, "w", format="mpegts")
    stream = container.add_stream("mpeg2video", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    for number in range(50):
        picture = av.VideoFrame.from_ndarray(numpy.full((96, 64), number * 3, dtype=numpy.uint8), format="yuv420p")
        picture.pts = first + number
        container.mux(stream.encode(picture))
    container.mux(stream.encode())
    container.close()


asked = []


class Server(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


def play():
    asked.clear()
    with av.open(f"http://127.0.0.1:{server.server_address[1]}/a.m3u8") as container:
        return sum(1 for packet in container.demux(video=0) if packet.pts is not None), list(asked)


for number in range(3):
    segment(f"{number}.ts", number * 50)
with open("a.m3u8", "w") as playlist:
    playlist.write(
        "#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n0.ts\n#EXT-X-GAP\n#EXTINF:2,\n1.ts\n#EXTINF:2,\n2.ts\n"
        "#EXT-X-ENDLIST\n"
    )
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
present = play()
os.remove("1.ts")
missing = play()
print("libavformat", av.library_versions["libavformat"], "with the gap's segment:", present, "without:", missing)
assert present == (150, ["/a.m3u8", "/0.ts", "/1.ts", "/2.ts"])
assert missing == (100, ["/a.m3u8", "/0.ts", "/1.ts", "/2.ts"])
PY
