#!/usr/bin/env bash
# @liveinstantly/dash-mpd-parser (npm) 0.5.0 renames the representations of a manifest, and moves its segments.
#
# Input: a manifest with the representations 007, 1e3 and 0x10, whose names are part of the addresses of segments, and a timeline
# that begins at 17670000000000001. An id is a string (ISO/IEC 23009-1, 5.3.5.2), for which $RepresentationID$ stands (5.3.9.4.4).
# Behaviour: parse() makes numbers of all values that look like one, and getMPD() writes the numbers: 7, 1000 and 16, and a start of
# 17670000000000000. Whoever filters the renditions of a stream with it, for which it is made, sends players to segments
# that do not exist, and each two ids that are equal as numbers become one.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund @liveinstantly/dash-mpd-parser@0.5.0 >/dev/null
cat >rewrite.js <<'JS'
import { DashMPD } from '@liveinstantly/dash-mpd-parser';
const names = ['007', '1e3', '0x10'];
const manifest = new DashMPD();
manifest.parse(`<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" minBufferTime="PT2S" type="static">
<Period duration="PT4S"><AdaptationSet mimeType="video/mp4">
<SegmentTemplate timescale="10000000" media="$RepresentationID$/$Time$.m4s"><SegmentTimeline>
<S t="17670000000000001" d="20000000" r="1"/></SegmentTimeline></SegmentTemplate>
${names.map((name, at) => `<Representation id="${name}" bandwidth="${1000000 + at}" codecs="avc1.64001f"/>`).join('')}
</AdaptationSet></Period></MPD>`);
const written = manifest.getMPD();
const values = [...written.matchAll(/<Representation id="(.*?)"/g), written.match(/<S t="(.*?)"/)];
console.log(values.map(([, value]) => value).join(' '));
JS
seen=$(node rewrite.js)
echo "@liveinstantly/dash-mpd-parser 0.5.0 wrote for 007, 1e3, 0x10 and 17670000000000001: $seen"
[[ $seen == "7 1000 16 17670000000000000" ]]
