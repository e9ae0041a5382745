#!/usr/bin/env bash
# mpd-parser (npm, the DASH parser of video.js) 1.4.0 lets a Period's segments run on into the next Period.
#
# Input: a static manifest of 600 s with two Periods of 300 s each. Each has a SegmentTimeline of one entry that repeats to the end
# of its Period (S@r="-1", ISO/IEC 23009-1, 5.3.9.6) with segments of 4 s: 75 segments each.
# Behaviour: the first Period repeats to the end of the presentation: 150 segments, so that 225 are listed instead of 150, and the
# second half is there twice, the first time under names that do not exist. With one Period the count is right.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund mpd-parser@1.4.0 >/dev/null
cat >read.js <<'JS'
import { parse } from 'mpd-parser';
const period = (id, start, duration) => `<Period id="${id}" start="PT${start}S" duration="PT${duration}S"><AdaptationSet
 contentType="video" mimeType="video/mp4"><SegmentTemplate timescale="1000" presentationTimeOffset="${start * 1000}"
 media="${id}-$Time$.m4s"><SegmentTimeline><S t="${start * 1000}" d="4000" r="-1"/></SegmentTimeline></SegmentTemplate>
 <Representation id="v" bandwidth="2000000" width="640" height="360" codecs="avc1.64001f"/></AdaptationSet></Period>`;
const names = (periods) => {
  const text = `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT2S"
   mediaPresentationDuration="PT600S" profiles="urn:mpeg:dash:profile:isoff-live:2011">${periods}</MPD>`;
  return parse(text, { manifestUri: 'https://origin.example/a.mpd' }).playlists[0].segments.map((segment) => segment.uri);
};
const [one, two] = [names(period('a', 0, 600)), names(period('a', 0, 300) + period('b', 300, 300))];
const first = two.filter((name) => name.startsWith('a-'));
console.log(one.length, two.length, first.length, first.at(-1));
JS
read=$(node read.js)
echo "mpd-parser 1.4.0, one Period, two Periods, of which the first has, ending with: $read"
[[ $read == "150 225 150 a-596000.m4s" ]]
