#!/usr/bin/env bash
# mp4box (npm) 2.4.1 loses the time of an event when it writes the message that it read.
#
# Input: an emsg box of version 1 with an SCTE 35 message, whose presentation_time is a number of 64 bits on the clock of the media
# (ISO/IEC 23009-1, 5.10.3.3), as in a CMAF segment of a live stream.
# Behaviour: the box is read right. getBuffer() of the unchanged file writes version 0, whose time counts from the start of the
# segment, with 0 in it: the event happens now, wherever it was. Everything else in the box is kept. A sidx of version 1 comes back
# as it was.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund mp4box@2.4.1 >/dev/null
cat >rewrite.js <<'JS'
import { createFile } from 'mp4box';
const words = (...values) => Buffer.from(values.flatMap((value) => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255)));
const box = (type, body) => Buffer.concat([words(body.length + 8), Buffer.from(type), body]);
const open = (bytes) => {
  const file = createFile();
  const buffer = Uint8Array.from(bytes).buffer;
  buffer.fileStart = 0;
  file.appendBuffer(buffer);
  file.flush();
  return file;
};
const show = ({ version, presentation_time, presentation_time_delta, event_duration }) =>
  `version ${version}, time ${presentation_time ?? presentation_time_delta}, length ${event_duration}`;
const message = box('emsg', Buffer.concat([
  words(1 << 24, 90000, 2, 5, 2700000, 1), Buffer.from('urn:scte:scte35:2013:bin\0\0'), Buffer.from([0xfc]),
]));
const index = box('sidx', words(1 << 24, 1, 90000, 2, 5, 0, 0, 1, 100, 90000, 0x90000000));
const rewrite = (bytes) => Buffer.from(open(bytes).getBuffer().buffer).subarray(0, bytes.length);
const [before, after] = [message, rewrite(message)].map((bytes) => show(open(bytes).boxes[0]));
console.log(`${before} -> ${after} / sidx kept: ${rewrite(index).equals(index)}`);
JS
seen=$(node rewrite.js)
echo "mp4box 2.4.1: $seen"
[[ $seen == "version 1, time 8589934597, length 2700000 -> version 0, time 0, length 2700000 / sidx kept: true" ]]
