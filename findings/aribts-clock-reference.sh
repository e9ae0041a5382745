#!/usr/bin/env bash
# aribts (npm) 2.1.12 writes half of the clock of a transport stream, and reads another one after 6 hours and 38 minutes.
#
# Input: packets with a program clock reference, whose base has 33 bits of 90 kHz (ISO/IEC 13818-1, 2.4.3.5), of 1 s, one hour,
# six hours and eight hours.
# Behaviour: the first three are read right. Of eight hours, which need bit 31, it reads 4939 s. What encode() writes of a
# packet that decode() has read is half of it: the lower 31 bits are shifted by one instead of being cut off. A tool that passes
# packets on in this way gives receivers a clock of half the speed.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . aribts@2.1.12 >/dev/null
cat >clock.cjs <<'JS'
const { TsPacket } = require('aribts');
const packet = (base) => {
  const bytes = Buffer.alloc(188, 0xff);
  Buffer.from([0x47, 0x01, 0x00, 0x20, 183, 0x10]).copy(bytes);
  bytes.writeUInt32BE(Math.floor(base / 2), 6);
  bytes[10] = (base % 2) << 7 | 0x7e;
  bytes[11] = 0;
  return bytes;
};
// The clock of a packet, 33 bits, by hand.
const clock = (bytes) => (bytes.readUInt32BE(6) * 2 + (bytes[10] >> 7)) / 90000;
const seconds = [1, 3600, 21600, 28800];
const packets = seconds.map((time) => packet(time * 90000));
const read = packets.map((bytes) => {
  const { adaptation_field: field } = new TsPacket(bytes).decode();
  return Math.round(field.program_clock_reference_base / 90000);
});
const written = packets.map((bytes) => {
  const copy = new TsPacket();
  copy.encode(new TsPacket(bytes).decode());
  return clock(copy.getBuffer());
});
console.log(`${packets.map(clock).join(' ')} / ${read.join(' ')} / ${written.slice(0, 3).join(' ')}`);
JS
found=$(node clock.cjs)
echo "aribts 2.1.12, seconds in the packet / as read / of the first three as written again: $found"
[[ $found == "1 3600 21600 28800 / 1 3600 21600 4939 / 0.5 1800 10800" ]]
