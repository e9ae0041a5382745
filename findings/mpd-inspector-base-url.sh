#!/usr/bin/env bash
# mpd-inspector (PyPI) 1.2.3 leaves a folder out of the addresses of segments.
#
# Input: a manifest with a BaseURL at three levels: https://origin.example/ of the manifest, video/ of the adaptation set and hd/ of
# the representation. Each is resolved against the one of the level above it (ISO/IEC 23009-1, 5.6.4).
# Behaviour: the addresses begin with https://origin.example/hd/. The level of the adaptation set counts only if the representation
# has no BaseURL of its own; then it is https://origin.example/video/, as it should be. Each of the two alone is right.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check mpd-inspector==1.2.3
python/bin/python - <<'PY'
from mpd_inspector import MPDInspector, MPDParser


def first(adaptation_set, representation):
    text = f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT12S"
     minBufferTime="PT2S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><BaseURL>https://origin.example/</BaseURL>
     <Period id="a" start="PT0S" duration="PT12S"><AdaptationSet id="1" contentType="video" mimeType="video/mp4">{adaptation_set}
     <SegmentTemplate timescale="1000" duration="4000" startNumber="1" media="$Number$.m4s"/><Representation id="v"
     bandwidth="2000000" codecs="avc1.64001f">{representation}</Representation></AdaptationSet></Period></MPD>"""
    inspected = MPDInspector(MPDParser.from_string(text)).periods[0].adaptation_sets[0].representations[0]
    return inspected.segment_information.segments[0].urls[0].removeprefix("https://origin.example/")


video, hd = "<BaseURL>video/</BaseURL>", "<BaseURL>hd/</BaseURL>"
seen = [first(video, ""), first("", hd), first(video, hd)]
print("mpd-inspector 1.2.3, base at the set / at the representation / at both:", *seen)
assert seen == ["video/1.m4s", "hd/1.m4s", "hd/1.m4s"]
PY
