#!/usr/bin/env bash
# streamlink (PyPI) 8.6.3 looks for the live edge of a DASH stream hours away if the manifest has another time zone than UTC.
#
# Input: three manifests of one live stream, looked at at 12:00Z. Its availabilityStartTime (ISO/IEC 23009-1, 5.3.1.2), an
# xs:dateTime, is written as 06:00:00Z, 08:00:00+02:00 and 01:00:00-05:00, which are the same moment.
# Behaviour: the offset is replaced with UTC instead of being applied. Of segments of 4 s the first is 5399 in the first case.
# In the second it is 3599, two hours ago, which an origin has deleted long since; in the third it is 9899, which will exist in
# five hours.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check streamlink==8.6.3
python/bin/python - <<'PY'
from datetime import datetime, timezone
from itertools import islice

from streamlink import Streamlink
from streamlink.stream.dash import DASHStream


def first(start):
    manifest = f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" minBufferTime="PT2S"
 availabilityStartTime="{start}" minimumUpdatePeriod="PT10S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period id="p"
 start="PT0S"><AdaptationSet mimeType="video/mp4"><SegmentTemplate duration="4" media="$Number$"/><Representation id="v"
 bandwidth="2000000" width="640" height="360" codecs="avc1.64001f"/></AdaptationSet></Period></MPD>"""
    (stream,) = DASHStream.parse_manifest(Streamlink(), manifest).values()
    now = datetime(2026, 6, 1, 12, 0, tzinfo=timezone.utc)
    (segment,) = islice(stream.video_representation.segments(timestamp=now), 1)
    return int(segment.uri)


utc, east, west = (first(f"2026-06-01T{start}") for start in ("06:00:00Z", "08:00:00+02:00", "01:00:00-05:00"))
print("streamlink 8.6.3 begins with segment", utc, "of a stream since 06:00Z,", east, "since 08:00+02:00,", west, "since 01:00-05:00")
assert (utc, east, west) == (5399, 3599, 9899)
PY
