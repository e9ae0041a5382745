#!/usr/bin/env bash
# mpd-inspector (PyPI) 1.2.3 begins with segment 1 although the manifest says 0.
#
# Input: a static manifest of three segments of 4 s named $Number$.m4s, with startNumber="0" (ISO/IEC 23009-1, 5.3.9.2: the number
# of the first segment of the Period, and 1 only if it is absent). Once the template has a duration, once a SegmentTimeline.
# Behaviour: with the timeline the names are 0, 1 and 2. With the duration they are 1, 2 and 3: the first segment is not listed and
# the last does not exist. So a check of the same stream passes or fails by how its segments are described.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check mpd-inspector==1.2.3
python/bin/python - <<'PY'
from mpd_inspector import MPDInspector, MPDParser


def names(attribute, timeline):
    text = f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT12S"
     minBufferTime="PT2S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><BaseURL>https://origin.example/</BaseURL>
     <Period id="a" start="PT0S" duration="PT12S"><AdaptationSet id="1" contentType="video" mimeType="video/mp4"><SegmentTemplate
     timescale="1000" {attribute} startNumber="0" media="$Number$.m4s">{timeline}</SegmentTemplate><Representation id="v"
     bandwidth="2000000" codecs="avc1.64001f"/></AdaptationSet></Period></MPD>"""
    representation = MPDInspector(MPDParser.from_string(text)).periods[0].adaptation_sets[0].representations[0]
    return [segment.urls[0].rsplit("/", 1)[1] for segment in representation.segment_information.segments]


duration = names('duration="4000"', "")
timeline = names("", '<SegmentTimeline><S t="0" d="4000" r="2"/></SegmentTimeline>')
print("mpd-inspector 1.2.3, by duration:", duration, "by timeline:", timeline)
assert duration == ["1.m4s", "2.m4s", "3.m4s"] and timeline == ["0.m4s", "1.m4s", "2.m4s"]
PY
