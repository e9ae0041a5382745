#!/usr/bin/env bash
# FFmpeg 9.0.2 with libsrt (in imageio-ffmpeg 0.8.1 of PyPI) loses the last seconds of a stream, as many as its SRT latency.
#
# Input: five seconds of sound, sent by FFmpeg to FFmpeg over SRT on one machine, where nothing is lost, with 120 ms
# and 3 s of latency. The receiver holds each packet back until its time (draft-sharabayko-srt, 4.5); the sender ends with SHUTDOWN.
# Behaviour: what is held back when SHUTDOWN arrives is never given out, though nothing was lost. With 120 ms the recording
# lacks less than half a second, with 3 s the last three of five, and ends with the sender instead of 3 s after it. The end of
# each stream is cut by the latency, on each hop of a chain anew, and the more the better a link is meant to hold.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
python/bin/python - <<'PY'
import socket
import subprocess
import time

import imageio_ffmpeg

FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "quiet", "-y"]
COPY = ["-c", "copy", "-f", "mpegts"]


def seconds(name):
    """How much sound there is, at 24 ms a frame."""
    frames = subprocess.run([*FFMPEG, "-i", name, "-c", "copy", "-f", "framecrc", "-"], capture_output=True, text=True)
    return frames.stdout.count("\n0,") * 0.024


def lost(latency):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = f"srt://127.0.0.1:{free.getsockname()[1]}?latency={latency * 1000}"
    receiver = subprocess.Popen([*FFMPEG, "-i", address + "&mode=listener", *COPY, "out.ts"])
    time.sleep(2)
    subprocess.run([*FFMPEG, "-re", "-i", "in.ts", *COPY, address], check=True)
    receiver.wait(30)
    return round(seconds("in.ts") - seconds("out.ts"), 2)


sound = ["-f", "lavfi", "-i", "sine=r=48000", "-t", "5", "-c:a", "mp2", "-b:a", "384k"]
subprocess.run([*FFMPEG, *sound, "-f", "mpegts", "in.ts"], check=True)
short, long = lost(120), lost(3000)
print("FFmpeg 9.0.2, seconds lost at the end with 120 ms and of 3 s:", short, long)
assert short < 0.5 and 2.5 < long < 3.8
PY
