#!/usr/bin/env bash
# yt-dlp (PyPI) 2026.10.26 lists segments that do not exist if a manifest says when its Periods start instead of how long they
# are.
#
# Input: a static manifest of 40 s with two Periods of 20 s and segments of 4 s by number, once with Period@duration, once with
# Period@start alone. Without a duration a Period ends where the next one starts, and the last one with the presentation
# (ISO/IEC 23009-1, 5.3.2.1).
# Behaviour: with the durations there are five segments in each Period. With the starts there are ten: the length of the
# presentation is taken for that of each Period. Five addresses of the first Period and five of the second lead nowhere, and
# whether the recording has pictures twice depends on what the server answers there.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check yt-dlp==2026.10.26
python/bin/python - <<'PY'
import http.server
import threading

import yt_dlp

SETS = """<AdaptationSet mimeType="video/mp4"><SegmentTemplate duration="4" media="{name}-$Number$.m4s"/>
 <Representation id="v" bandwidth="2000000" width="640" height="360" codecs="avc1.64001f"/></AdaptationSet>"""


def manifest(kind):
    first, second = {"start": ('start="PT0S"', 'start="PT20S"'), "duration": ('duration="PT20S"', 'duration="PT20S"')}[kind]
    return f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT2S"
 mediaPresentationDuration="PT40S" profiles="urn:mpeg:dash:profile:isoff-live:2011">
 <Period id="a" {first}>{SETS.format(name="a")}</Period><Period id="b" {second}>{SETS.format(name="b")}</Period></MPD>"""


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.split("/")[-1]
        self.send_response(200)
        self.send_header("Content-Type", "application/dash+xml" if name.endswith(".mpd") else "video/mp4")
        self.end_headers()
        self.wfile.write(manifest(self.path.split("/")[1]).encode() if name.endswith(".mpd") else b"media")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()


def names(kind):
    with yt_dlp.YoutubeDL({"quiet": True, "no_warnings": True}) as downloader:
        info = downloader.extract_info(f"http://127.0.0.1:{server.server_address[1]}/{kind}/a.mpd", download=False)
    return [[fragment.get("path") or fragment["url"] for fragment in form["fragments"]] for form in info["formats"]]


(by_duration,), (by_start,) = names("duration"), names("start")
print("yt-dlp 2026.10.26, with the lengths of the Periods:", *by_duration, "and with their starts:", *by_start)
assert by_duration == [f"{period}-{number}.m4s" for period in "ab" for number in range(1, 6)]
assert by_start == [f"{period}-{number}.m4s" for period in "ab" for number in range(1, 11)]
PY
