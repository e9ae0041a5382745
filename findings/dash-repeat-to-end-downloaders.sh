#!/usr/bin/env bash
# yt-dlp 2026.10.26 and streamlink 8.6.3 (PyPI) do not know that a timeline may repeat to the end of its Period.
#
# Input: a static manifest of 20 s whose SegmentTimeline is one entry of 4 s that repeats to the end of the Period (S@r="-1",
# ISO/IEC 23009-1, 5.3.9.6), and the same with r="4": five segments each.
# Behaviour: with r="4" both list five. With -1 yt-dlp lists the first segment, and streamlink none, because one is added to the
# number of repetitions and that is how many there are. Neither says that something is missing: the one leaves a recording of
# four seconds, the other ends as if the stream were over.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check yt-dlp==2026.10.26 streamlink==8.6.3
python/bin/python - <<'PY'
import http.server
import threading

import yt_dlp
from streamlink import Streamlink
from streamlink.stream.dash import DASHStream


def manifest(repeat):
    return f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT2S"
 mediaPresentationDuration="PT20S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period><AdaptationSet mimeType="video/mp4">
 <SegmentTemplate timescale="1000" media="$Time$.m4s"><SegmentTimeline><S t="0" d="4000" r="{repeat}"/></SegmentTimeline>
 </SegmentTemplate><Representation id="v" bandwidth="2000000" width="640" height="360" codecs="avc1.64001f"/></AdaptationSet>
 </Period></MPD>"""


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/dash+xml")
        self.end_headers()
        self.wfile.write(manifest(self.path.split("/")[1]).encode())

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()


def with_yt_dlp(repeat):
    with yt_dlp.YoutubeDL({"quiet": True, "no_warnings": True}) as downloader:
        info = downloader.extract_info(f"http://127.0.0.1:{server.server_address[1]}/{repeat}/a.mpd", download=False)
    return [fragment["path"] for fragment in info["formats"][0]["fragments"]]


def with_streamlink(repeat):
    (stream,) = DASHStream.parse_manifest(Streamlink(), manifest(repeat)).values()
    return [segment.uri for segment in stream.video_representation.segments()]


for name, read, last in (("yt-dlp 2026.10.26", with_yt_dlp, ["0.m4s"]), ("streamlink 8.6.3", with_streamlink, [])):
    counted, repeated = read(4), read(-1)
    print(f"{name} lists {len(counted)} segments for r=4 and {len(repeated)} for r=-1")
    assert counted == [f"{place}.m4s" for place in range(0, 20000, 4000)]
    assert repeated == last
PY
