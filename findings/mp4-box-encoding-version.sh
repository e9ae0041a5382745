#!/usr/bin/env bash
# mp4-box-encoding (npm) 1.4.1 reads times of 64 bits as if they ended 16 bits earlier.
#
# Input: the header of a track (mdhd) that lasts a minute at 90 kHz and was made in 2027, in version 0 with times of 32 bits and
# in version 1 with 64 (ISO/IEC 14496-12, 8.4.2), which packagers write that do not know how long a stream will be.
# Behaviour: version 0 is right. Of version 1 the duration is 82 ticks instead of 5400000, and the year is 1904: Node's
# functions read 48 bits at most, and it reads the upper 48 instead of the lower. Written back, the duration is 5373952, so that
# a tool that changes another box shortens the track.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . mp4-box-encoding@1.4.1 >/dev/null
cat >read.cjs <<'JS'
const mp4 = require('mp4-box-encoding');
const number = (bytes, value) => {
  const data = Buffer.alloc(bytes);
  data.writeUInt32BE(value, bytes - 4);
  return data;
};
// A minute on a clock of 90 kHz, made on the last day of 2027, which is counted in seconds since 1904.
const mdhd = (version) => {
  const size = version ? 8 : 4;
  const made = number(size, 3913056000);
  const times = [made, made, number(4, 90000), number(size, 5400000)];
  const body = Buffer.concat([Buffer.from([version, 0, 0, 0]), ...times, Buffer.from([0x55, 0xc4, 0, 0])]);
  return Buffer.concat([number(4, 8 + body.length), Buffer.from('mdhd'), body]);
};
const read = (bytes) => {
  const box = mp4.decode(bytes);
  return `${box.duration} ${box.ctime.toISOString().slice(0, 4)}`;
};
const copy = (bytes) => {
  const data = mp4.encode(mp4.decode(bytes));
  return data.readUInt32BE(data.length - 8);
};
console.log(`${read(mdhd(0))} ${copy(mdhd(0))} / ${read(mdhd(1))} ${copy(mdhd(1))}`);
JS
found=$(node read.cjs)
echo "mp4-box-encoding 1.4.1, duration and year read, duration written back, of version 0 / of version 1: $found"
[[ $found == "5400000 2027 5400000 / 82 1904 5373952" ]]
