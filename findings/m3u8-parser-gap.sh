#!/usr/bin/env bash
# m3u8-parser (npm, the parser of video.js) 7.2.0 does not know that a segment is a gap, although it knows it of a part.
#
# Input: a media playlist whose second segment carries EXT-X-GAP (RFC 8216bis, 4.4.4.7: the client must not load it), and a part
# with GAP=YES.
# Behaviour: the part has gap: true; the segment has no mark at all and looks like any other. Whoever serves a playlist that
# grows by gaps while a stream is away must expect such a player to ask for the segments of the gap.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund m3u8-parser@7.2.0 >/dev/null
cat >read.js <<'JS'
import { Parser } from 'm3u8-parser';
const lines = [
  '#EXTM3U', '#EXT-X-VERSION:9', '#EXT-X-TARGETDURATION:4', '#EXT-X-PART-INF:PART-TARGET=1',
  '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3', '#EXT-X-MEDIA-SEQUENCE:10',
  '#EXTINF:4,', '10.ts', '#EXT-X-GAP', '#EXTINF:4,', '11.ts', '#EXT-X-PART:DURATION=1,URI="12.0.ts",GAP=YES',
  '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="12.1.ts"',
];
const parser = new Parser();
parser.push(lines.join('\n') + '\n');
parser.end();
const { segments, preloadSegment } = parser.manifest;
console.log(JSON.stringify([segments[0], segments[1], preloadSegment.parts[0].gap]));
JS
read=$(node read.js)
echo "m3u8-parser 7.2.0 read $read"
[[ $read == '[{"duration":4,"uri":"10.ts","timeline":0},{"duration":4,"uri":"11.ts","timeline":0},true]' ]]
