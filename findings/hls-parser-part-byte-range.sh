#!/usr/bin/env bash
# hls-parser (npm) 0.16.1 writes byte ranges of parts that no player can read.
#
# Input: a low-latency playlist whose parts are ranges of one file: BYTERANGE="1000@100" of the first, and BYTERANGE="1100" of the
# second, which begins where the first ends. The attribute is a quoted string (RFC 8216bis, 4.4.4.9) of the form of EXT-X-BYTERANGE.
# Behaviour: stringify(parse(text)) writes BYTERANGE=1000@100 without quotes, and BYTERANGE=1100@-1 for the second. The range of the
# whole segment, EXT-X-BYTERANGE, comes back as it was.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund hls-parser@0.16.1 >/dev/null
cat >rewrite.js <<'JS'
import HLS from 'hls-parser';
HLS.setOptions({ silent: true });
const lines = [
  '#EXTM3U', '#EXT-X-VERSION:9', '#EXT-X-TARGETDURATION:4', '#EXT-X-PART-INF:PART-TARGET=2',
  '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=6', '#EXT-X-MEDIA-SEQUENCE:10',
  '#EXT-X-PART:DURATION=2,URI="a.ts",BYTERANGE="1000@100"', '#EXT-X-PART:DURATION=2,URI="a.ts",BYTERANGE="1100"',
  '#EXTINF:4,', '#EXT-X-BYTERANGE:2100@100', 'a.ts',
];
const written = HLS.stringify(HLS.parse(lines.join('\n') + '\n'));
console.log(written.match(/BYTERANGE[=:][^,\n]*/g).join(' '));
JS
seen=$(node rewrite.js)
echo "hls-parser 0.16.1 wrote $seen"
[[ $seen == 'BYTERANGE=1000@100 BYTERANGE=1100@-1 BYTERANGE:2100@100' ]]
