#!/usr/bin/env bash
# ts-demuxer (npm) 1.1.1 gives a picture that is shown earlier than the one before it the time of that one, and stops the clock when
# it starts again at zero.
#
# Input: an MPEG transport stream of five pictures in the order in which they are decoded. Two of them are shown before the one that
# precedes them, as with every encoder that uses B pictures: each has its own time (ISO/IEC 13818-1, 2.4.3.7). In a second stream
# the clock of 33 bits starts again, as it does every 26.5 hours.
# Behaviour: the time of a packet only ever grows. The two pictures have the time of the one before them, so that three are to be
# shown at once. After the clock has started again all pictures have the last time before that, for the next 26 hours.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . ts-demuxer@1.1.1 >/dev/null
cat >read.cjs <<'JS'
const { TSDemuxer } = require('ts-demuxer');
const checksum = (bytes) => {
  let rest = 0xffffffff;
  for (const byte of bytes) {
    rest ^= byte << 24;
    for (let bit = 0; bit < 8; bit++) rest = (rest << 1) ^ (rest & 0x80000000 ? 0x04c11db7 : 0);
  }
  return [rest >>> 24, (rest >>> 16) & 255, (rest >>> 8) & 255, rest & 255];
};
const counters = {};
const packet = (pid, payload) => {
  const counter = (counters[pid] = ((counters[pid] ?? -1) + 1) & 15);
  const stuffing = 183 - payload.length;
  const field = [stuffing, ...(stuffing ? [0, ...Array(stuffing - 1).fill(0xff)] : [])];
  return [0x47, 0x40 | (pid >> 8), pid & 255, 0x30 | counter, ...field, ...payload];
};
const table = (pid, section) => packet(pid, [0, ...section, ...checksum(section)]);
const time = (mark, ticks) => [
  (mark << 4) | (Math.floor(ticks / 2 ** 30) << 1) | 1, (ticks >>> 22) & 255, ((ticks >>> 14) & 0xfe) | 1,
  (ticks >>> 7) & 255, ((ticks << 1) & 0xfe) | 1,
];
const picture = ([shown, decoded]) => packet(256, [
  0, 0, 1, 0xe0, 0, 0, 0x80, 0xc0, 10, ...time(3, shown), ...time(1, decoded), 0, 0, 0, 1, 9, 0xf0,
]);
const stream = (pictures) => Uint8Array.from([
  ...table(0, [0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0]),
  ...table(4096, [2, 0xb0, 18, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x1b, 0xe1, 0, 0xf0, 0]),
  ...pictures.flatMap(picture),
]);
const read = (pictures) => {
  const times = [];
  const demuxer = new TSDemuxer((found) => times.push(found.pts));
  demuxer.process(stream(pictures));
  demuxer.finalize();
  return times.join(' ');
};
const end = 2 ** 33;
console.log(read([[7200, 0], [18000, 3600], [10800, 7200], [14400, 10800], [21600, 14400]]));
console.log(read([[end - 3600, end - 7200], [0, end - 3600], [3600, 0], [7200, 3600]]));
JS
found=$(node read.cjs)
echo "ts-demuxer 1.1.1, times of pictures that are shown at 7200 18000 10800 14400 21600, and of such around the end of the clock:"
echo "$found"
[[ $found == "7200 18000 18000 18000 21600"$'\n'"8589930992 8589930992 8589930992 8589930992" ]]
