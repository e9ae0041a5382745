#!/usr/bin/env bash
# hls.js (npm) 1.7.4 forgets a gap if the segment has its own initialization section.
#
# Input: a media playlist in which a gap begins with a new initialization section: EXT-X-GAP, EXT-X-MAP, EXTINF, as a server writes
# it whose encoder came back with other settings. Both tags are of that segment, in whatever order (RFC 8216bis, 4.4.4, 4.4.4.5,
# 4.4.4.7).
# Behaviour: that segment is no gap, and the player would ask for it. With EXT-X-MAP in front of EXT-X-GAP it is one, and so is a
# gap without a map. The reader makes the map out of the segment that it has begun, and starts the segment anew; what it keeps of
# the tags before, such as a date or a byte range, it moves over one by one.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund hls.js@1.7.4 >/dev/null
cat >read.js <<'JS'
globalThis.self = globalThis;
const { M3U8Parser } = await import('hls.js');
const read = (...tags) => {
  const lines = [
    '#EXTM3U', '#EXT-X-VERSION:8', '#EXT-X-TARGETDURATION:4', '#EXT-X-MEDIA-SEQUENCE:10', '#EXT-X-MAP:URI="a.mp4"', '#EXTINF:4,',
    '10.m4s', '#EXT-X-DISCONTINUITY', ...tags, '#EXTINF:4,', '11.m4s',
  ];
  const details = M3U8Parser.parseLevelPlaylist(lines.join('\n') + '\n', 'https://origin.example/a.m3u8', 0, 'main', 0, null);
  return `${details.fragments[1].gap === true} ${details.fragments[1].initSegment.relurl}`;
};
const map = '#EXT-X-MAP:URI="b.mp4"';
console.log([read('#EXT-X-GAP', map), read(map, '#EXT-X-GAP'), read('#EXT-X-GAP')].join(' / '));
JS
seen=$(node read.js)
echo "hls.js 1.7.4, a gap with its map, gap first / map first / without map: $seen"
[[ $seen == "false b.mp4 / true b.mp4 / true a.mp4" ]]
