#!/usr/bin/env bash
# FFmpeg 9.0.2 (in imageio-ffmpeg 0.8.1 of PyPI) writes 31 bits of the time of an FLV stream and reads 32.
#
# Input: one second of sound whose times pass 2^31 ms: 24 days, 20 hours and 31 minutes, as an encoder has them that never
# stops. FLV has a signed number of 32 bits for them (FLV 10.1, E.4.1), and RTMP an unsigned one, which starts again at 0 after
# 49 days (RTMP 1.0, 4).
# Behaviour: the muxer leaves the highest bit out, so that 13 follows 2147483640 ms. FFmpeg's own reader expects the turn at
# 2^32 and makes 4294967309 of the 13: the sound goes on 24 days later. A receiver sees the stream jump, back by 25 days or
# ahead by as many, depending on whether it counts with 31 or 32 bits.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
python/bin/python - <<'PY'
import subprocess

import imageio_ffmpeg

FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error"]
# One second of sound that begins 648 ms before the clock has counted 2^31 ms.
subprocess.run(
    [*FFMPEG, "-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono", "-t", "1", "-c:a", "aac", "-output_ts_offset", "2147483", "-f", "flv",
     "a.flv"],
    check=True,
)  # fmt: skip
content = open("a.flv", "rb").read()
times, place = [], 13
while place < len(content):
    size = int.from_bytes(content[place + 1 : place + 4], "big")
    if content[place] == 8 and content[place + 12] == 1:  # sound, and not its header
        times.append(content[place + 7] << 24 | int.from_bytes(content[place + 4 : place + 7], "big"))
    place += 11 + size + 4
run = subprocess.run(
    [*FFMPEG, "-copyts", "-i", "a.flv", "-c", "copy", "-f", "framecrc", "-"], check=True, capture_output=True, text=True
)
read = [int(line.split(",")[2]) for line in run.stdout.splitlines() if not line.startswith("#")]

def around(series):
    """The two neighbours that are furthest from each other."""
    return max(zip(series, series[1:]), key=lambda pair: abs(pair[1] - pair[0]))


wrote, found = around(times), around(read)
print("FFmpeg", imageio_ffmpeg.get_ffmpeg_version(), "writes", *wrote, "and reads", *found)
assert wrote == (2147483640, 13)
assert found == (2147483640, 2**32 + 13)
PY
