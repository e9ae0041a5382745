#!/usr/bin/env bash
# hls-parser (npm) 0.16.1 invents a key when it rewrites a low-latency playlist.
#
# Input: a valid low-latency media playlist in fragmented MP4: EXT-X-MAP, one whole segment, then a part of the segment that is
# being made. The stream is clear: there is no EXT-X-KEY in it.
# Behaviour: parse() stores the map of the unfinished segment as its key, so stringify(parse(text)) writes
#   #EXT-X-KEY:METHOD=undefined,URI="init.mp4"
# in front of the part. A player that reads the rewritten playlist takes every later part for encrypted. Finished segments are
# not concerned, so the fault shows only at the live edge, and only with a map.
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
  '#EXTM3U', '#EXT-X-VERSION:9', '#EXT-X-TARGETDURATION:4', '#EXT-X-PART-INF:PART-TARGET=1',
  '#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3', '#EXT-X-MEDIA-SEQUENCE:10',
  '#EXT-X-MAP:URI="init.mp4"', '#EXTINF:4,', '10.m4s', '#EXT-X-PART:DURATION=1,URI="11.0.m4s"',
  '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="11.1.m4s"',
];
console.log(HLS.stringify(HLS.parse(lines.join('\n') + '\n')));
JS
seen=$(node rewrite.js | grep -c '^#EXT-X-KEY:METHOD=undefined,URI="init.mp4"$' || true)
echo "hls-parser 0.16.1 wrote $seen key(s) for a playlist without one"
[[ $seen == 1 ]]
