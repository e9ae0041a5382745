#!/usr/bin/env bash
# FFmpeg 9.0.2 (in imageio-ffmpeg 0.8.1 of PyPI) changes EXT-X-TARGETDURATION while a stream is live, up and down again.
#
# Input: a live playlist of three segments at -hls_time 2. The pictures have key frames every two seconds, with one gap of six.
# Each state of the playlist is sent to a server with PUT. Of a playlist nothing may change but segments that come and go, their
# counters, and the end (RFC 8216, 6.2.1).
# Behaviour: the tag is the longest of the segments that are in the list now: it is 2, then 6 while the long segment is there,
# then 2 again. Players take from it how often to reload and how near to the end to play, so one long scene moves both; a player
# that comes later does not know that there was a longer segment.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
python/bin/python - <<'PY'
import http.server
import itertools
import re
import subprocess
import threading

import imageio_ffmpeg

playlists = []


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        if self.path.endswith(".m3u8"):
            playlists.append(body.decode())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
# Key frames every 2 s, but none between 6 and 12 s, as when a scene is long.
subprocess.run(
    [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=5",
     "-t", "24", "-c:v", "libx264", "-g", "1000", "-pix_fmt", "yuv420p", "-force_key_frames", "0,2,4,6,12,14,16,18,20,22", "-f", "hls",
     "-hls_time", "2", "-hls_list_size", "3", "-method", "PUT", f"http://127.0.0.1:{server.server_address[1]}/a.m3u8"],
    check=True,
)  # fmt: skip
# They may arrive in another order, so they are sorted by the first segment and the number of segments.
playlists.sort(key=lambda text: (int(re.search(r"MEDIA-SEQUENCE:(\d+)", text)[1]), text.count("#EXTINF"), "ENDLIST" in text))
told = [int(re.search(r"TARGETDURATION:(\d+)", playlist)[1]) for playlist in playlists]
print("FFmpeg", imageio_ffmpeg.get_ffmpeg_version(), "says in the playlists of one stream", *told)
assert [value for value, _ in itertools.groupby(told)] == [2, 6, 2]
PY
