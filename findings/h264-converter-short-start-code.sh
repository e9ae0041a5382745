#!/usr/bin/env bash
# h264-converter (npm) 0.1.4 takes the first picture of a stream for the end of its picture parameter set.
#
# Input: parameter sets, additional information and a key picture of H.264 as raw bytes, with the start codes that x264 writes: four
# bytes in front of parameter sets, and three in front of what follows them. H.264, B.1.2 asks for the fourth byte, a zero, only
# for parameter sets and the first unit of a picture.
# Behaviour: a start code of three bytes is none for the library. The additional information and the key picture become part of the
# picture parameter set, which it copies into the head of its MP4 file. With four bytes everywhere all units come out. A camera or
# encoder whose stream plays with every other player shows nothing here until it writes longer start codes.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . h264-converter@0.1.4 >/dev/null
cat >read.cjs <<'JS'
const { default: Units } = require('h264-converter/dist/util/nalu-stream-buffer.js');
const long = [0, 0, 0, 1];
const read = (code) => {
  const stream = [
    ...long, 0x67, 0x42, 0xc0, 0x1e, ...long, 0x68, 0xce, 0x3c, ...code, 0x06, 5, 1, 0x55, 0x80, ...code, 0x65, 0x88, 0x84, 0x21,
    ...long, 0x09, 0xf0, ...long, 0x09, 0xf0,
  ];
  return new Units().append(stream).map(({ ntype, data }) => `type ${ntype} of ${data.length}`).join(', ');
};
console.log([long, [0, 0, 1]].map(read).join(' / '));
JS
seen=$(node read.cjs)
echo "h264-converter 0.1.4, units with start codes of four / three bytes: $seen"
[[ $seen == "type 7 of 4, type 8 of 3, type 6 of 5, type 5 of 4, type 9 of 2 / type 7 of 4, type 8 of 18, type 9 of 2" ]]
