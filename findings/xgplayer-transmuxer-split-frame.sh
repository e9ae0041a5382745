#!/usr/bin/env bash
# xgplayer-transmuxer (npm) 3.0.24 drops a frame of sound whenever a PES packet ends within one.
#
# Input: an MPEG transport stream of eight AAC frames in two PES packets, cut between the fourth and the fifth frame, and cut
# within the fifth. A PES packet is not bound to frames; its time is that of the first frame that begins in it (ISO/IEC 13818-1,
# 2.4.3.7).
# Behaviour: in the first case all eight frames are there. In the second the fifth is not: what is left at the end of a packet
# is thrown away, and so is the start of the next one up to the first frame. Broadcast multiplexers fill packets to a fixed
# length, so of such a stream a frame of each packet is missing.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . xgplayer-transmuxer@3.0.24 >/dev/null
cat >read.cjs <<'JS'
const { TsDemuxer } = require('xgplayer-transmuxer');
// ADTS (ISO/IEC 13818-7, 6.2): AAC-LC, 48 kHz, stereo; the content of each frame is its number.
const adts = (number) => {
  const size = 7 + 100;
  const head = [0xff, 0xf1, 0x4c, 0x80 | size >> 11, size >> 3 & 255, (size & 7) << 5 | 0x1f, 0xfc];
  return Buffer.concat([Buffer.from(head), Buffer.alloc(100, number)]);
};
const counters = {};
const packets = (pid, data, unit) => {
  const found = [];
  for (let place = 0; place < data.length; place += 184) {
    let part = data.subarray(place, place + 184);
    const counter = counters[pid] = ((counters[pid] ?? -1) + 1) & 15;
    const stuffing = 184 - part.length;
    const head = [0x47, (place === 0 && unit ? 0x40 : 0) | pid >> 8, pid & 255, (stuffing ? 0x30 : 0x10) | counter];
    if (stuffing === 1) head.push(0);
    if (stuffing > 1) head.push(stuffing - 1, 0, ...Array(stuffing - 2).fill(0xff));
    found.push(Buffer.from(head), part);
  }
  return Buffer.concat(found);
};
const crc = (data) => {
  let value = 0xffffffff;
  for (const byte of data) for (let bit = 7; bit >= 0; bit--) {
    const high = (value >>> 31) ^ (byte >> bit & 1);
    value = (value << 1) >>> 0;
    if (high) value = (value ^ 0x04c11db7) >>> 0;
  }
  return value;
};
const section = (pid, bytes) => {
  const body = Buffer.from(bytes);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc(body));
  return packets(pid, Buffer.concat([Buffer.from([0]), body, sum, Buffer.alloc(183 - body.length - 4, 0xff)]), true);
};
const tables = Buffer.concat([
  section(0, [0x00, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe1, 0x00]),
  section(0x100, [0x02, 0xb0, 18, 0, 1, 0xc1, 0, 0, 0xe1, 0x01, 0xf0, 0, 0x0f, 0xe1, 0x01, 0xf0, 0]),
]);
const pes = (time, data) => {
  const size = data.length + 8;
  const stamp = [0x21 | time >> 29 & 0x0e, time >> 22 & 255, time >> 14 & 0xfe | 1, time >> 7 & 255, time << 1 & 0xfe | 1];
  const head = [0, 0, 1, 0xc0, size >> 8, size & 255, 0x80, 0x80, 5, ...stamp];
  return packets(0x101, Buffer.concat([Buffer.from(head), data]), true);
};
const all = Buffer.concat(Array.from({ length: 8 }, (_, number) => adts(number + 1)));
const read = (cut) => {
  for (const pid of Object.keys(counters)) delete counters[pid];
  // The time of a packet is that of the first frame that begins in it.
  const second = 90000 + 1920 * Math.ceil(cut / 107);
  const stream = Buffer.concat([tables, pes(90000, all.subarray(0, cut)), pes(second, all.subarray(cut))]);
  const { audioTrack } = new TsDemuxer().demux(new Uint8Array(stream), true, false);
  return audioTrack.samples.map((sample) => `${sample.data[0]}@${sample.pts}`).join(' ');
};
console.log(`${read(4 * 107)} / ${read(4 * 107 + 50)}`);
JS
read=$(node read.cjs)
echo "xgplayer-transmuxer 3.0.24, frames with their times, cut between two / within the fifth: $read"
[[ $read == "1@90000 2@91920 3@93840 4@95760 5@97680 6@99600 7@101520 8@103440 / "*" 4@95760 6@99600 7@101520 8@103440" ]]
