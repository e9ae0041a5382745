#!/usr/bin/env bash
# enzyme (PyPI) 0.5.2 reads nothing of a WebM stream that was recorded live.
#
# Input: two seconds of VP8, once as a file and once as a live stream, which cannot know how long it will be: its Segment has
# an unknown size, all ones (RFC 8794, 6.2), as FFmpeg writes it to a pipe, and browsers in their recordings.
# Behaviour: of the file the tracks are read. The unknown size is taken for a number of 2^56 - 1 bytes, and the reader fails with
# "Invalid argument" of the operating system when it goes on after the segment, though all that it has been asked for stands in
# front of the first picture.
# Needs: python3 with venv, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check enzyme==0.5.2
ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=size=64x48:rate=25 -t 2 -c:v libvpx -f webm file.webm
ffmpeg -nostdin -loglevel error -i file.webm -c copy -f webm -live 1 - >live.webm
cat >read.py <<'PY'
import enzyme


def read(name):
    with open(name, "rb") as stream:
        try:
            track = enzyme.MKV(stream).video_tracks[0]
            return track.codec_id, track.width, track.height
        except OSError as error:
            return error.strerror


found = read("file.webm"), read("live.webm")
print("enzyme 0.5.2, of a file:", found[0], "/ of a live stream:", found[1])
assert found == (("V_VP8", 64, 48), "Invalid argument")
PY
python/bin/python read.py
