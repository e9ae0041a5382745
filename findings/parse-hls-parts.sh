#!/usr/bin/env bash
# parse-hls (npm) 1.0.7 loses the live edge of a low-latency playlist.
#
# Input: a low-latency media playlist (RFC 8216bis, 4.4.4.9): a segment without parts, one with two parts, and one that is not
# finished, of which there are two parts so far.
# Behaviour: a part is known to the parser as something of the segment whose address follows. The parts at the end of the playlist,
# after which no address comes yet, are nowhere in the result: what is newest in a live stream is what is missing. Of the two parts
# of the second segment serialize() has the last one, as each replaces the one before.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . parse-hls@1.0.7 >/dev/null
cat >read.cjs <<'JS'
const HLS = require('parse-hls').default;
const part = (name) => `#EXT-X-PART:DURATION=2.0,URI="${name}.mp4"`;
const playlist = [
  '#EXTM3U', '#EXT-X-VERSION:9', '#EXT-X-TARGETDURATION:4', '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=6.0',
  '#EXT-X-PART-INF:PART-TARGET=2.0', '#EXT-X-MEDIA-SEQUENCE:10', '#EXTINF:4.0,', '10.mp4',
  part('11.1'), part('11.2'), '#EXTINF:4.0,', '11.mp4', part('12.1'), part('12.2'), '',
].join('\n');
const found = JSON.stringify(HLS.parse(playlist).serialize());
console.log(['10.mp4', '11.1.mp4', '11.2.mp4', '11.mp4', '12.1.mp4', '12.2.mp4'].filter((name) => found.includes(`"${name}"`)).join(' '));
JS
found=$(node read.cjs)
echo "parse-hls 1.0.7, what is left of 10, 11.1, 11.2, 11, 12.1 and 12.2: $found"
[[ $found == "10.mp4 11.2.mp4 11.mp4" ]]
