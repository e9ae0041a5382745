#!/usr/bin/env bash
# @svta/cml-id3 (npm) 1.0.9 reads a time that is up to three milliseconds too late.
#
# Input: the ID3 tag at the start of a packed audio segment of HLS: a PRIV frame with the MPEG-2 time of the first sample, 33 bits
# in eight bytes (RFC 8216, 3.4), of 1, 2 and 3 s, which are 90000, 180000 and 270000 ticks.
# Behaviour: getId3Timestamp() gives 1002, 2000 and 3002 ms. The time is put together in steps of two ticks, but the last byte is
# added whole instead of by half, so that up to 128 steps, of which 45 make a millisecond, are too many. How much depends on that
# byte, so segments that follow each other without a gap seem to have gaps and overlaps. hls.js 1.7.4 has the same lines in its
# bundle.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund @svta/cml-id3@1.0.9 >/dev/null
cat >read.js <<'JS'
import { getId3Timestamp } from '@svta/cml-id3';
const size = (value) => [21, 14, 7, 0].map((shift) => (value >> shift) & 127);
const tag = (ticks) => {
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(ticks));
  const body = [...Buffer.from('com.apple.streaming.transportStreamTimestamp\0'), ...time];
  const frame = [...Buffer.from('PRIV'), ...size(body.length), 0, 0, ...body];
  return Uint8Array.from([...Buffer.from('ID3'), 4, 0, 0, ...size(frame.length), ...frame]);
};
console.log([1, 2, 3].map((seconds) => getId3Timestamp(tag(seconds * 90000))).join(' '));
JS
seen=$(node read.js)
echo "@svta/cml-id3 1.0.9 read 1, 2 and 3 s as $seen ms"
[[ $seen == "1002 2000 3002" ]]
