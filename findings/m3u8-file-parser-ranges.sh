#!/usr/bin/env bash
# m3u8-file-parser (npm) 0.2.4 lets every segment of a file begin at its first byte.
#
# Input: a media playlist of three ranges of one file, of which the first says where it is, 1000@0, and the others how long they
# are. Such a range begins where that of the segment before ends (RFC 8216, 4.3.2.2).
# Behaviour: the offsets are 0, 0 and 0 instead of 0, 1000 and 3000. The value is a number as any other, so a caller cannot tell that
# it was not in the playlist: a viewer of these ranges sees the beginning of the file three times, a little longer each time.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . m3u8-file-parser@0.2.4 >/dev/null
cat >read.cjs <<'JS'
const Parser = require('m3u8-file-parser');
const segments = ['1000@0', '2000', '3000'].map((range) => `#EXTINF:4.0,\n#EXT-X-BYTERANGE:${range}\nfilm.ts\n`);
const parser = new Parser();
parser.read(`#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:4\n${segments.join('')}#EXT-X-ENDLIST\n`);
console.log(parser.getResult().segments.map(({ byteRange }) => `${byteRange.length}@${byteRange.offset}`).join(' '));
JS
found=$(node read.cjs)
echo "m3u8-file-parser 0.2.4, the ranges 1000@0, 2000 and 3000: $found"
[[ $found == "1000@0 2000@0 3000@0" ]]
