#!/usr/bin/env bash
# hls-parser (npm) 0.16.1 changes the type of a client attribute of EXT-X-DATERANGE.
#
# Input: a date range with X-HEX=0xDEAD. RFC 8216, 4.3.2.7 allows a client attribute to be a hexadecimal sequence.
# Behaviour: parse() reads the two bytes 0xDE 0xAD, and stringify() writes X-HEX="222,173": a quoted string of decimal numbers.
# SCTE35-OUT of the same tag, which is a hexadecimal sequence as well, is written back as it came. So a rewriter in front of
# players keeps the markers of an ad break and breaks the identifiers beside them.
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
  '#EXTM3U', '#EXT-X-VERSION:6', '#EXT-X-TARGETDURATION:4', '#EXT-X-MEDIA-SEQUENCE:10',
  '#EXT-X-PROGRAM-DATE-TIME:2026-11-28T10:00:00Z', '#EXTINF:4,', '10.ts',
  '#EXT-X-DATERANGE:ID="break",START-DATE="2026-11-28T10:00:04Z",SCTE35-OUT=0xFC002F,X-HEX=0xDEAD', '#EXTINF:4,', '11.ts',
];
console.log(HLS.stringify(HLS.parse(lines.join('\n') + '\n')));
JS
written=$(node rewrite.js | grep '^#EXT-X-DATERANGE')
echo "hls-parser 0.16.1 wrote $written"
[[ $written == *'X-HEX="222,173"'* && $written == *'SCTE35-OUT=0xFC002F'* ]]
