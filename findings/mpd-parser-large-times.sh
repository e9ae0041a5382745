#!/usr/bin/env bash
# mpd-parser (npm, the DASH parser of video.js) 1.4.0 asks for segments by times that were rounded.
#
# Input: a manifest whose segments of 2.0053333 s are named by $Time$ on a clock of 10 MHz, as sound of 48 kHz and packagers
# that come from Smooth Streaming have it: once near the zero of the clock, once since 1970, where times have 17 digits. S@t is
# an integer of 64 bits (ISO/IEC 23009-1, 5.3.9.6).
# Behaviour: near zero the names are right. Since 1970 times are beyond 2^53, where JavaScript's numbers are two apart:
# 17644788010026667 becomes …668, and the third name is wrong too, while the second, which is even, exists. Every other segment
# of a live stream is missing, and none of the same stream's recording that begins at zero.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund mpd-parser@1.4.0 >/dev/null
cat >read.js <<'JS'
import { parse } from 'mpd-parser';
const names = (time) => {
  const text = `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT2S"
   mediaPresentationDuration="PT6S" profiles="urn:mpeg:dash:profile:isoff-live:2011"><Period start="PT0S"><AdaptationSet
   contentType="video" mimeType="video/mp4"><SegmentTemplate timescale="10000000" presentationTimeOffset="${time}" media="$Time$">
   <SegmentTimeline><S t="${time}" d="20053333" r="2"/></SegmentTimeline></SegmentTemplate><Representation id="v" bandwidth="2000000"
   width="640" height="360" codecs="avc1.64001f"/></AdaptationSet></Period></MPD>`;
  return parse(text, { manifestUri: 'https://origin.example/a.mpd' }).playlists[0].segments.map((segment) => segment.uri).join(' ');
};
console.log(`${names('10026667')} / ${names('17644788010026667')}`);
JS
read=$(node read.js)
echo "mpd-parser 1.4.0 asks for, a second after the clock's zero / in 2025: $read"
[[ $read == "10026667 30080000 50133333 / 17644788010026668 17644788030080000 17644788050133332" ]]
