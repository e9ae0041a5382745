#!/usr/bin/env bash
# FFmpeg 8 (libavformat 62.12, in av 18.1.0 of PyPI) accepts a playlist with variables and asks for their names.
#
# Input: a media playlist of version 11 with EXT-X-DEFINE:NAME="folder",VALUE="media" and the segment {$folder}/0.ts (RFC 8216bis,
# 4.4.2.3).
# Behaviour: the playlist is read without a word, whatever its version; then the demuxer asks the server for /%7B$folder%7D/0.ts.
# The error that a user sees is a missing segment, not a tag that the reader does not know.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check av==18.1.0
python/bin/python - <<'PY'
import http.server
import threading

import av

av.logging.set_level(av.logging.PANIC)
asked = []


class Server(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


with open("a.m3u8", "w") as playlist:
    playlist.write(
        '#EXTM3U\n#EXT-X-VERSION:11\n#EXT-X-TARGETDURATION:2\n#EXT-X-DEFINE:NAME="folder",VALUE="media"\n#EXTINF:2,\n'
        "{$folder}/0.ts\n#EXT-X-ENDLIST\n"
    )
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
try:
    av.open(f"http://127.0.0.1:{server.server_address[1]}/a.m3u8")
    outcome = "opened"
except av.error.FFmpegError as error:
    outcome = error.log[2] if error.log else str(error)
print("libavformat", av.library_versions["libavformat"], "asked for", asked, "and said:", outcome.replace("127.0.0.1", "server"))
assert asked == ["/a.m3u8", "/%7B$folder%7D/0.ts"]
PY
