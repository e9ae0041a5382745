#!/usr/bin/env bash
# pydash2hls (PyPI) 3.0.0 makes a playlist of addresses that do not exist out of a manifest with a timeline.
#
# Input: a live manifest with three segments of 4 s from 100 s on, in one entry that repeats (ISO/IEC 23009-1, 5.3.9.6), once named
# by $Time$ and once by $Number$ from 7 on. The segments are 100000, 104000 and 108000, or 7, 8 and 9.
# Behaviour: the time is that at which a segment ends instead of begins, and is not counted on, so that the playlist has the address
# 104000 three times. The numbers are counted on before they are used: 8, 9 and 10. The initialization section is a segment of
# one second in both, and there is no EXT-X-MAP.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check pydash2hls==3.0.0
python/bin/python - <<'PY'
from pydash2hls import Dash


def convert(name):
    manifest = f"""<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" availabilityStartTime="2026-01-01T00:00:00Z"
        minBufferTime="PT2S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period id="1" start="PT0S">
        <AdaptationSet mimeType="video/mp4"><Representation id="v" codecs="avc1.4d401f" bandwidth="1000000" width="640" height="360">
        <SegmentTemplate timescale="1000" startNumber="7" initialization="init.mp4" media="{name}.m4s">
        <SegmentTimeline><S t="100000" d="4000" r="2"/></SegmentTimeline></SegmentTemplate>
        </Representation></AdaptationSet></Period></MPD>"""
    dash = Dash(manifest.encode(), "https://origin.example/live/manifest.mpd")
    dash.unpack()
    playlist = dash.convert("v")
    assert "EXT-X-MAP" not in playlist
    return [line.rsplit("/", 1)[1] for line in playlist.split("\n") if line.startswith("https:")]


times, numbers = convert("$Time$"), convert("$Number$")
print("pydash2hls 3.0.0, segments by time:", *times, "/ by number:", *numbers)
assert times == ["init.mp4"] + ["104000.m4s"] * 3 and numbers == ["init.mp4", "8.m4s", "9.m4s", "10.m4s"]
PY
