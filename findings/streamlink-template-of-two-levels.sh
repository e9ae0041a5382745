#!/usr/bin/env bash
# streamlink (PyPI) 8.6.3 finds no segment if the names of segments are common to an adaptation set and the times are not.
#
# Input: a static manifest in which the SegmentTemplate of the adaptation set has media and initialization, and that of the
# representation the SegmentTimeline. What a lower level leaves out it has from the higher one (ISO/IEC 23009-1, 5.3.9.1). The
# same with everything in the representation.
# Behaviour: timescale, duration, startNumber and the timeline are taken over from above, the two names are not. A template
# without a name gives no segment, not even the initialization, and no error: the player ends at once. With everything at one
# level there are the initialization and three segments.
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

NAMES = 'timescale="1000" initialization="init-$RepresentationID$.mp4" media="$RepresentationID$-$Time$.m4s"'
TIMES = '<SegmentTimeline><S t="0" d="4000" r="2"/></SegmentTimeline>'


def names(set_level, representation_level):
    manifest = f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT2S"
 mediaPresentationDuration="PT12S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period><AdaptationSet mimeType="video/mp4">
 {set_level}<Representation id="v" bandwidth="2000000" width="640" height="360" codecs="avc1.64001f">{representation_level}
 </Representation></AdaptationSet></Period></MPD>"""
    (stream,) = DASHStream.parse_manifest(Streamlink(), manifest).values()
    return [segment.uri for segment in stream.video_representation.segments()]


one = names("", f"<SegmentTemplate {NAMES}>{TIMES}</SegmentTemplate>")
two = names(f"<SegmentTemplate {NAMES}/>", f"<SegmentTemplate>{TIMES}</SegmentTemplate>")
print("streamlink 8.6.3, all at one level:", *one, "and at two:", *two)
assert one == ["init-v.mp4", "v-0.m4s", "v-4000.m4s", "v-8000.m4s"]
assert two == []
PY
