#!/usr/bin/env bash
# @eyevinn/m3u8 (npm) 0.5.9 gives a byte range to the segment before, if it stands before EXTINF.
#
# Input: a media playlist of three ranges of one file. EXT-X-BYTERANGE of the second stands before its EXTINF, that of the others
# after it. A byte range applies to the next URI line (RFC 8216, 4.3.2.2), and no order of a segment's tags is asked for.
# Behaviour: the first segment's range of 1000 bytes from 0 is overwritten with 2000, and the second segment has none: it is the
# whole file to whoever reads it. toString() writes that, so a tool that only passes a playlist on damages it. No error is emitted.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . @eyevinn/m3u8@0.5.9 >/dev/null
cat >read.cjs <<'JS'
const m3u8 = require('@eyevinn/m3u8');
const lines = [
  '#EXTM3U', '#EXT-X-VERSION:4', '#EXT-X-TARGETDURATION:4', '#EXTINF:4,', '#EXT-X-BYTERANGE:1000@0', 'a.ts',
  '#EXT-X-BYTERANGE:2000', '#EXTINF:4,', 'a.ts', '#EXTINF:4,', '#EXT-X-BYTERANGE:3000', 'a.ts', '#EXT-X-ENDLIST',
];
const parser = m3u8.createStream();
parser.on('m3u', (playlist) => console.log(playlist.items.PlaylistItem.map((item) => item.get('byteRange') ?? 'none').join(' ')));
parser.write(lines.join('\n') + '\n');
parser.end();
JS
read=$(node read.cjs)
echo "@eyevinn/m3u8 0.5.9 read 1000@0 2000 3000 as $read"
[[ $read == "2000 none 3000" ]]
