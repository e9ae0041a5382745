#!/usr/bin/env bash
# arib-mpeg2ts-parser (npm) 3.0.15 loses a table whose first byte is the last of a packet, and the tables after it.
#
# Input: three sections of a program guide one after another (ISO/IEC 13818-1, 2.4.4: a section may begin anywhere in a packet, and
# the next follows it directly). The first has 181, 182 or 183 bytes, so that two bytes, one or none of the second fit into
# the first packet.
# Behaviour: with one byte the length of the section is not known yet. Of the next packet two bytes are taken to complete it, and
# the other 182 are thrown away. What follows is put in their place, so neither the second section nor the third comes out.
# The length of the first table, thus the text of a programme, decides whether a guide is read whole.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . arib-mpeg2ts-parser@3.0.15 >/dev/null
cat >read.cjs <<'JS'
const { TSSection, TSSectionQueue } = require('arib-mpeg2ts-parser');
const section = (number, size) => {
  const bytes = Buffer.alloc(size, number);
  bytes.set([0x4e, 0xf0 | ((size - 3) >> 8), (size - 3) & 0xff, 0, number, 0xc1, 0, 0]);
  bytes.writeInt32BE(TSSection.CRC32(bytes.subarray(0, size - 4)), size - 4);
  return bytes;
};
const packets = (...sections) => {
  const all = Buffer.concat(sections);
  const begins = sections.map((_, at) => sections.slice(0, at).reduce((sum, { length }) => sum + length, 0));
  const made = [];
  for (let at = 0; at < all.length; ) {
    const begin = begins.find((place) => place >= at && place < at + 183);
    const head = [0x47, begin === undefined ? 0 : 0x40, 0x12, 0x10 | (made.length % 16)];
    if (begin !== undefined) head.push(begin - at);
    const packet = Buffer.alloc(188, 0xff);
    packet.set(head);
    at += all.copy(packet, head.length, at);
    made.push(packet);
  }
  return made;
};
const read = (size) => {
  const queue = new TSSectionQueue();
  const seen = [];
  for (const packet of packets(section(1, size), section(2, 400), section(3, 60))) {
    queue.push(packet);
    while (!queue.isEmpty()) {
      const found = queue.pop();
      seen.push(`${TSSection.table_id_extension(found)}${TSSection.CRC32(found) ? ' broken' : ''}`);
    }
  }
  return seen.join(' ');
};
console.log([181, 182, 183].map(read).join(' / '));
JS
seen=$(node read.cjs)
echo "arib-mpeg2ts-parser 3.0.15, tables read if two bytes / one / none of the second are in the first packet: $seen"
[[ $seen == "1 2 3 / 1 / 1 2 3" ]]
