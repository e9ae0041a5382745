#!/usr/bin/env bash
# icecast-metadata-js (npm) 1.2.9 puts the headers of pages into the cover of a song.
#
# Input: a stream of Opus in Ogg whose comments hold a title and a cover picture. With 70000 bytes the comments are longer than a
# page can be, and go on in the next (RFC 7845, 3: the comment header may span pages; with a picture it usually does).
# Behaviour: the lengths of comments are counted over the bytes of the stream, not of the packet. The header of the second page,
# from "OggS" on, stands in the middle of the picture, and its last bytes are missing. A picture of 60000 bytes, in one page, is
# right. So a radio player shows a broken cover for each song whose picture is large enough, and no error.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund icecast-metadata-js@1.2.9 >/dev/null
cat >read.js <<'JS'
import { IcecastMetadataReader } from 'icecast-metadata-js';
const length = (value) => Buffer.from(Uint32Array.of(value).buffer);
let number = 0;
const page = (flags, lacing, bytes) => {
  const head = Buffer.alloc(27);
  head.write('OggS');
  head[5] = flags;
  head.writeUInt32LE(number++, 18);
  head[26] = lacing.length;
  return Buffer.concat([head, Buffer.from(lacing), bytes]);
};
const packet = (bytes, first = 0) => {
  const lacing = [...Array(Math.floor(bytes.length / 255)).fill(255), bytes.length % 255];
  const pages = [];
  for (let at = 0; at < lacing.length; at += 255) {
    pages.push(page(at ? 1 : first, lacing.slice(at, at + 255), bytes.subarray(at * 255, (at + 255) * 255)));
  }
  return pages;
};
const read = (size) => {
  const cover = Buffer.concat([Buffer.from('METADATA_BLOCK_PICTURE='), Buffer.alloc(size, 'A')]);
  const comments = [Buffer.from('TITLE=Evening'), cover];
  const stream = [
    ...packet(Buffer.concat([Buffer.from('OpusHead'), Buffer.from([1, 2, 0x38, 1, 0x80, 0xbb, 0, 0, 0, 0, 0])]), 2),
    ...packet(Buffer.concat([
      Buffer.from('OpusTags'), length(3), Buffer.from('abc'), length(2),
      ...comments.flatMap((comment) => [length(comment.length), comment]),
    ])),
    ...packet(Buffer.alloc(50, 1)), ...packet(Buffer.alloc(50, 2)),
  ];
  const seen = [];
  const reader = new IcecastMetadataReader({ metadataTypes: ['ogg'], onMetadata: ({ metadata }) => seen.push(metadata) });
  reader.readAll(Buffer.concat(stream));
  return seen.map(({ TITLE, METADATA_BLOCK_PICTURE: cover }) => `${TITLE}, ${cover.length}, OggS at ${cover.indexOf('OggS')}`);
};
console.log(`${read(60000)} / ${read(70000)}`);
JS
seen=$(node read.js)
echo "icecast-metadata-js 1.2.9, title and picture of 60000 / 70000 bytes: $seen"
[[ $seen == "Evening, 60000, OggS at -1 / Evening, 70000, OggS at 64962" ]]
