#!/usr/bin/env bash
# hls-parser (npm) 0.16.1 drops from a delta update which date ranges are gone.
#
# Input: a playlist delta update of version 10 that leaves date ranges out too: CAN-SKIP-DATERANGES=YES, and EXT-X-SKIP with three
# segments and RECENTLY-REMOVED-DATERANGES="break" (RFC 8216bis, 4.4.3.8 and 4.4.5.2).
# Behaviour: stringify(parse(text)) keeps the number of skipped segments and writes neither of the two attributes. A player that
# follows the rewritten playlist keeps the date range that was taken back, and plays a break that is not there any more.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund hls-parser@0.16.1 >/dev/null
cat >rewrite.js <<'JS'
import HLS from 'hls-parser';
const lines = [
  '#EXTM3U', '#EXT-X-VERSION:10', '#EXT-X-TARGETDURATION:4',
  '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24,CAN-SKIP-DATERANGES=YES', '#EXT-X-MEDIA-SEQUENCE:10',
  '#EXT-X-SKIP:SKIPPED-SEGMENTS=3,RECENTLY-REMOVED-DATERANGES="break"', '#EXTINF:4,', '13.ts', '#EXTINF:4,', '14.ts',
];
const written = HLS.stringify(HLS.parse(lines.join('\n') + '\n'));
console.log(written.match(/#EXT-X-S(KIP|ERVER).*/g).join(' '));
JS
seen=$(node rewrite.js)
echo "hls-parser 0.16.1 wrote $seen"
[[ $seen == '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24 #EXT-X-SKIP:SKIPPED-SEGMENTS=3' ]]
