#!/usr/bin/env bash
# FFmpeg 9.0.2 (in imageio-ffmpeg 0.8.1 of PyPI) plays one Period of a DASH presentation, whichever is the longest.
#
# Input: a static manifest with a film of 6 s and an advertisement of 3 s, each a Period of its own (ISO/IEC 23009-1, 5.3.2), in
# this order and the other way round.
# Behaviour: 60 of 90 pictures come out in both cases, and the exit code is 0. Nothing of the shorter Period is asked for,
# whether it is the first or the second. Of the longer one segments up to the length of the whole presentation are asked for,
# though the Period has its own length: none after the sixth exists.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
python/bin/python - <<'PY'
import http.server
import subprocess
import threading

import imageio_ffmpeg

FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "fatal"]
SET = """<AdaptationSet contentType="video" mimeType="video/mp4"><SegmentTemplate duration="1" startNumber="1"
 initialization="{0}-init.m4s" media="{0}-$Number$.m4s"/><Representation id="v" bandwidth="200000" width="64" height="64"
 codecs="avc1.64000a"/></AdaptationSet>"""
LENGTHS = {"film": 6, "break": 3}
asked = []


class Server(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path[1:])
        super().do_GET()

    def log_message(self, *_):
        pass


def played(*order):
    """How many pictures FFmpeg finds, and what it asks the server for."""
    periods = "".join(f'<Period id="{name}" duration="PT{LENGTHS[name]}S">{SET.format(name)}</Period>' for name in order)
    open("a.mpd", "w").write(
        f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT2S"
 mediaPresentationDuration="PT9S" profiles="urn:mpeg:dash:profile:isoff-live:2011">{periods}</MPD>"""
    )
    asked.clear()
    run = subprocess.run(
        [*FFMPEG, "-i", f"http://127.0.0.1:{server.server_address[1]}/a.mpd", "-f", "framecrc", "-"],
        capture_output=True, text=True,
    )  # fmt: skip
    pictures = sum(not line.startswith("#") for line in run.stdout.splitlines())
    numbers = sorted({int(name[5:-4]) for name in asked if name.startswith("film-") and "init" not in name})
    return run.returncode, pictures, numbers, [name for name in asked if name.startswith("break-")]


for name, seconds in LENGTHS.items():
    subprocess.run(
        [*FFMPEG, "-f", "lavfi", "-i", "testsrc=size=64x64:rate=10", "-t", str(seconds), "-c:v", "libx264", "-profile:v", "high",
         "-g", "10", "-pix_fmt", "yuv420p", "-f", "dash", "-seg_duration", "1", "-use_timeline", "0",
         "-init_seg_name", f"{name}-init.m4s", "-media_seg_name", f"{name}-$Number$.m4s", f"{name}.mpd"],
        check=True,
    )  # fmt: skip
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
first, last = played("film", "break"), played("break", "film")
print("FFmpeg", imageio_ffmpeg.get_ffmpeg_version(), "plays of 90 pictures, and asks for:", first, "/", last)
assert first == last
assert first[:2] == (0, 60) and first[3] == []
assert set(range(1, 10)) <= set(first[2])
PY
