#!/usr/bin/env bash
# id3js (npm) 2.1.1 gives out the head of a private frame as part of its data.
#
# Input: what begins every segment of packed audio in HLS (RFC 8216, 3.4): an ID3 tag of version 2.4 with one private frame, which
# holds a name, a zero and the time stamp in eight bytes (ID3 2.4 frames, 4.27).
# Behaviour: the name is right. The data begins in the length of the frame, as the zero after the name is looked for from the
# beginning of the frame on and found there: 58 bytes instead of eight, the length, flags and name in front of the time.
# Read as the specification says, as a number of eight bytes from the start, the time of each segment is 58274122788717.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund id3js@2.1.1 >/dev/null
cat >read.js <<'JS'
import { writeFileSync } from 'fs';
import { fromPath } from 'id3js';
const time = Buffer.alloc(8);
time.writeBigUInt64BE(900000n);
const body = Buffer.concat([Buffer.from('com.apple.streaming.transportStreamTimestamp\0'), time]);
const frame = Buffer.concat([Buffer.from('PRIV'), Buffer.from([0, 0, 0, body.length, 0, 0]), body]);
const tag = Buffer.concat([Buffer.from('ID3'), Buffer.from([4, 0, 0, 0, 0, 0, frame.length]), frame]);
writeFileSync('segment.aac', Buffer.concat([tag, Buffer.alloc(200, 0x55)]));
const { identifier, data } = (await fromPath('segment.aac')).frames[0].value;
const bytes = Buffer.from(data);
const number = (at) => bytes.readBigUInt64BE(at);
console.log(`${identifier.split('.').pop()} ${bytes.length} ${number(0)} ${number(bytes.length - 8)}`);
JS
seen=$(node read.js)
echo "id3js 2.1.1, name, length of the data, its first and last eight bytes: $seen"
[[ $seen == "transportStreamTimestamp 58 58274122788717 900000" ]]
