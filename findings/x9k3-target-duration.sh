#!/usr/bin/env bash
# x9k3 (PyPI) 1.0.39 writes a playlist whose segments are longer than it allows.
#
# Input: an MPEG transport stream with a key frame every six seconds, which x9k3, a segmenter for streams with SCTE 35, cuts at
# key frames. EXT-X-TARGETDURATION is at least the longest segment, rounded (RFC 8216, 4.3.3.1); clients fail on a playlist that
# breaks a rule (4).
# Behaviour: the tag is 3, one more than the segment time that was asked for, which is two seconds if nothing is said, and the
# segments have 5.9 s. Whether a playlist is valid so depends on the key frames of the encoder, which the segmenter sees and the
# person who starts it does not.
# Needs: python3 with venv, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check x9k3==1.0.39
ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=size=64x64:rate=10 -t 24 -pix_fmt yuv420p -c:v libx264 -bf 0 -g 60 \
  -keyint_min 60 -sc_threshold 0 -f mpegts a.ts
python/bin/x9k3 -i a.ts -o out >log 2>&1
found=$(grep -oE 'TARGETDURATION.*|EXTINF.*' out/index.m3u8 | tr '\n' ' ')
echo "x9k3 1.0.39 writes $found"
[[ $found == "TARGETDURATION:3 EXTINF:5.9, EXTINF:5.9, EXTINF:5.9, EXTINF:5.9, " ]]
