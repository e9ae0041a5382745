#!/usr/bin/env bash
# mux.js (npm, the transmuxer of video.js) 7.1.0 finds no track in a stream whose table of programs begins with the network.
#
# Input: an MPEG transport stream of one program with H.264. Its program association table also has program number 0, which names
# the PID of the network information and is no program (ISO/IEC 13818-1, 2.4.4.3 to 2.4.4.5); broadcast multiplexers put it first.
# Behaviour: the first entry is taken for the program whatever its number is, so that no map of the program is found: inspect()
# gives null. With the same two entries the other way round, or without that of the network, it finds the pictures.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . mux.js@7.1.0 >/dev/null
cat >read.cjs <<'JS'
const { inspect } = require('mux.js').mp2t.tools;
const crc = (bytes) => bytes.reduce((sum, byte) => {
  sum ^= byte << 24;
  for (let bit = 0; bit < 8; bit++) sum = sum < 0 ? (sum << 1) ^ 0x04c11db7 : sum << 1;
  return sum;
}, -1);
const section = (table, body) => {
  const bytes = [table, 0xb0, body.length + 9, 0, 1, 0xc1, 0, 0, ...body];
  const sum = Buffer.alloc(4);
  sum.writeInt32BE(crc(bytes));
  return [0, ...bytes, ...sum];
};
const read = (programs) => {
  const counters = {};
  const packet = (pid, payload) => {
    const counter = (counters[pid] = ((counters[pid] ?? -1) + 1) % 16);
    const space = 183 - payload.length;
    return [0x47, 0x40 | (pid >> 8), pid & 255, 0x30 | counter, space, 0, ...Array(space - 1).fill(255), ...payload];
  };
  // A picture with its time: delimiter, parameter sets, slice.
  const picture = (time) => packet(0x101, [
    0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5, 0x21, time >> 22, 1 | ((time >> 14) & 254), (time >> 7) & 255, 1 | ((time << 1) & 254),
    0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80, 0, 0, 0, 1, 0x65, 0x88, 0x84,
  ]);
  const seen = inspect(Uint8Array.from([
    packet(0, section(0, programs)), packet(0x100, section(2, [0xe1, 1, 0xf0, 0, 0x1b, 0xe1, 1, 0xf0, 0])),
    ...[90000, 93600, 97200, 100800].map(picture),
  ].flat()));
  return seen && 'video from ' + seen.video[0].ptsTime + ' s';
};
const program = [0, 1, 0xe1, 0], network = [0, 0, 0xe0, 0x10];
console.log([program, [...program, ...network], [...network, ...program]].map(read).join(' / '));
JS
seen=$(node read.cjs)
echo "mux.js 7.1.0 with the program / program and network / network and program: $seen"
[[ $seen == "video from 1 s / video from 1 s / " ]]
