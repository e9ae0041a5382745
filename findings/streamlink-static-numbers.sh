#!/usr/bin/env bash
# streamlink (PyPI) 8.6.3 loses the end of a DASH recording, or all of it, depending on the number of its first segment.
#
# Input: static manifests with segments of 4 s named by $Number$, of 20 s, which are five segments, and of 22 s, which are six,
# the last one shorter. The first number is startNumber (ISO/IEC 23009-1, 5.3.9.2), which a part of a live stream that was kept
# has far from 1.
# Behaviour: the last number is that of whole segments in the duration, whatever the first is. From number 1 on, 20 s are right,
# and of 22 s the last two seconds are missing. From 0 on there is a sixth segment that does not exist; from 4 on there are two
# of five, and from 101 on none, without an error.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check streamlink==8.6.3
python/bin/python - <<'PY'
from streamlink import Streamlink
from streamlink.stream.dash import DASHStream


def numbers(seconds, start):
    manifest = f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT2S"
 mediaPresentationDuration="PT{seconds}S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period><AdaptationSet
 mimeType="video/mp4"><SegmentTemplate duration="4" startNumber="{start}" media="$Number$"/><Representation id="v"
 bandwidth="2000000" width="640" height="360" codecs="avc1.64001f"/></AdaptationSet></Period></MPD>"""
    (stream,) = DASHStream.parse_manifest(Streamlink(), manifest).values()
    return [int(segment.uri) for segment in stream.video_representation.segments()]


read = {case: numbers(*case) for case in ((20, 1), (22, 1), (20, 0), (20, 4), (20, 101))}
for (seconds, start), found in read.items():
    print(f"streamlink 8.6.3, {seconds} s in segments of 4 s from number {start}: {found}")
assert read[20, 1] == [1, 2, 3, 4, 5]
assert read[22, 1] == [1, 2, 3, 4, 5]
assert read[20, 0] == [0, 1, 2, 3, 4, 5]
assert read[20, 4] == [4, 5]
assert read[20, 101] == []
PY
