#!/usr/bin/env bash
# mpegdash (PyPI) 0.4.1 turns every false of a manifest into true.
#
# Input: a low-latency manifest whose segments may be asked for before they are whole: SegmentTemplate with
# availabilityTimeOffset="3" and availabilityTimeComplete="false" (ISO/IEC 23009-1, 5.3.9.2), in an adaptation set of
# segmentAlignment="false".
# Behaviour: both attributes are read as True and written as "true". A player of the written manifest is told that a segment is
# whole when only its first second is, and that it may switch where it may not. A manifest that passes through the library is
# changed so although nobody touched it.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check mpegdash==0.4.1
python/bin/python - <<'PY'
import re

from mpegdash.parser import MPEGDASHParser

text = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" availabilityStartTime="2026-11-28T10:00:00Z" minimumUpdatePeriod="PT2S"
 minBufferTime="PT1S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period id="a" start="PT0S"><AdaptationSet
 contentType="video" mimeType="video/mp4" segmentAlignment="false"><SegmentTemplate timescale="1000" duration="4000"
 availabilityTimeOffset="3" availabilityTimeComplete="false" media="$Number$.m4s"/><Representation id="v" bandwidth="2000000"
 codecs="avc1.64001f"/></AdaptationSet></Period></MPD>"""
written = MPEGDASHParser.get_as_doc(MPEGDASHParser.parse(text)).toxml()
seen = dict(re.findall(r'(availabilityTimeComplete|segmentAlignment)="(\w+)"', written))
print("mpegdash 0.4.1 wrote", seen)
assert seen == {"availabilityTimeComplete": "true", "segmentAlignment": "true"}
PY
