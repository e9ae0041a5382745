#!/usr/bin/env bash
# FFmpeg 9.0.2 (in imageio-ffmpeg 0.8.1 of PyPI) does not know which clock the subtitles of an HLS stream have.
#
# Input: a multivariant playlist of pictures and WebVTT subtitles with one cue for the 20th second. X-TIMESTAMP-MAP says which
# time of the transport stream is which time of the text (RFC 8216, 3.5). The clock of the pictures begins at 0, 10 or 3600 s,
# that of the text at 0 or at one hour, as of a channel whose clocks run on.
# Behaviour: the line is skipped, and the text is at its local time: right only if both clocks begin at 0. If the pictures begin
# at 10 s, the cue comes 10 s too early, and if the text begins at one hour, an hour too late. If the pictures begin at an hour,
# the cue lies before all of them, and does not come out at all.
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

FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error"]
LIST = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:30\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:30,\n{}\n#EXT-X-ENDLIST\n"
FILES = {
    "all.m3u8": """#EXTM3U
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="t",NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,URI="text.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS="avc1.64000a",SUBTITLES="t"
video.m3u8
""",
    "text.m3u8": LIST.format("0.vtt"),
    "video.m3u8": LIST.format("0.ts"),
}
for name, text in FILES.items():
    open(name, "w").write(text)


def times(start, local):
    """Where the pictures begin, and where the subtitle of their 20th second does."""
    subprocess.run(
        [*FFMPEG, "-f", "lavfi", "-i", "testsrc=size=64x64:rate=10", "-t", "30", "-c:v", "libx264", "-profile:v", "high",
         "-bf", "0", "-g", "10", "-pix_fmt", "yuv420p", "-output_ts_offset", str(start), "-muxdelay", "0", "-muxpreload", "0",
         "-f", "mpegts", "0.ts"],
        check=True,
    )  # fmt: skip
    hour = f"{local // 3600:02}"
    open("0.vtt", "w").write(
        f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{start * 90000},LOCAL:{hour}:00:00.000\n\n{hour}:00:20.000 --> {hour}:00:22.000\nhello\n"
    )
    run = subprocess.run(
        [*FFMPEG, "-copyts", "-i", "all.m3u8", "-map", "0:v", "-map", "0:s", "-c", "copy", "-f", "framecrc", "-"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    rows = [line.split(",") for line in run.stdout.splitlines() if not line.startswith("#")]
    return next(int(row[2]) // 90000 for row in rows if row[0] == "0"), [int(row[2]) // 1000 for row in rows if row[0] == "1"]


found = {case: times(*case) for case in ((0, 0), (10, 0), (0, 3600), (3600, 0))}
print("FFmpeg", imageio_ffmpeg.get_ffmpeg_version())
for (start, local), (pictures, texts) in found.items():
    print(f"{start} s is {local} s in the text: pictures from {pictures} s on, text at {texts}")
assert found == {(0, 0): (0, [20]), (10, 0): (10, [20]), (0, 3600): (0, [3620]), (3600, 0): (3600, [])}
PY
