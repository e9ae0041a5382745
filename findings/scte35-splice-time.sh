#!/usr/bin/env bash
# scte35 (npm) 0.2.4 reads the time of an ad break from another place in the message.
#
# Input: a splice_info_section (SCTE 35 2023, 9.6.1) with a splice_insert of an hour's presentation time and a break of 30 s (9.7.3,
# 9.8.1, 9.8.2), without descriptors. A second section has the same time in a time_signal (9.7.4).
# Behaviour: the time_signal is read right. In the splice_insert the library counts the place of the time from the start of the
# section instead of the command. It finds a byte of pts_adjustment there, says that no time is specified, and reads the length of
# the break four bytes too early: 62607 s. It writes a message to the console and throws nothing. (The file that its package.json
# names asks for one that is not there, so the built one is taken.)
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund scte35@0.2.4 esbuild@0.28.2 >/dev/null
cat >read.js <<'JS'
import { SCTE35 } from 'scte35/build/lib/scte35';
const crc = (bytes) => bytes.reduce((sum, byte) => {
  sum ^= byte << 24;
  for (let bit = 0; bit < 8; bit++) sum = sum < 0 ? (sum << 1) ^ 0x04c11db7 : sum << 1;
  return sum;
}, -1);
const number = (value, size) => Array.from({ length: size }, (_, at) => Math.floor(value / 256 ** (size - 1 - at)) % 256);
const section = (type, command) => {
  const rest = [0, 0, ...number(0, 4), 0, 0xff, 0xf0, command.length, type, ...command, 0, 0];
  const bytes = [0xfc, 0x30, rest.length + 4, ...rest];
  return SCTE35.parseFromHex(Buffer.from([...bytes, ...number(crc(bytes) >>> 0, 4)]).toString('hex')).spliceCommand;
};
const time = [0xfe, ...number(3600 * 90000, 4)];
const signal = section(6, time);
const insert = section(5, [...number(1, 4), 0x7f, 0xef, ...time, 0xfe, ...number(30 * 90000, 4), ...number(1, 2), 0, 0]);
console.log(signal.pts / 90000, JSON.stringify(insert.spliceTime), Math.round(insert.breakDuration.duration / 90000));
JS
node_modules/.bin/esbuild read.js --bundle --platform=node --format=esm --outfile=bundle.js --log-level=error
seen=$(node bundle.js 2>error.log)
echo "scte35 0.2.4, time_signal, then time and length of a splice_insert: $seen ($(cat error.log))"
[[ $seen == '3600 {"specified":false} 62607' ]]
