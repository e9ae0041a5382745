#!/usr/bin/env bash
# media-stream-library (npm) 13.1.1, which plays cameras in browsers, drops pictures that share a packet with something else.
#
# Input: an RTSP description of H.264 with packetization-mode=1 and three pictures in RTP: a key picture in a packet of its own, then
# one of two slices in an aggregation packet (STAP-A, RFC 6184, 5.7.1), then one of two slices in two packets. A receiver of this
# mode takes single NAL units, aggregation packets and fragments (6.3); FFmpeg aggregates whatever fits.
# Behaviour: the first and the third picture come out. Of the aggregation packet nothing does, without an error: only the debug log
# says that types 1, 5 and 28 are understood. A viewer misses the calm pictures, which are small enough to share a packet.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . media-stream-library@13.1.1 >/dev/null
cat >read.cjs <<'JS'
const { H264Depay, MessageType, messageFromBuffer } = require('media-stream-library');
const description = [
  'v=0', 'o=- 1 1 IN IP4 127.0.0.1', 's=-', 't=0 0', 'm=video 0 RTP/AVP 96', 'a=rtpmap:96 H264/90000',
  'a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0IAKeKQFAe2AtwEBAaQeJEV,aM48gA==', 'a=control:track1', '',
].join('\r\n');
let number = 0;
const packet = (time, last, payload) => {
  const head = Buffer.from('8060000000000000aabbccdd', 'hex');
  head[1] |= last ? 0x80 : 0;
  head.writeUInt16BE(number++, 2);
  head.writeUInt32BE(time, 4);
  return { type: MessageType.RTP, channel: 0, data: Buffer.concat([head, payload]) };
};
const slice = (type, mark) => Buffer.from([0x60 | type, mark, mark, mark]);
const sized = (unit) => Buffer.concat([Buffer.from([0, unit.length]), unit]);
const depacketizer = new H264Depay();
const found = [];
depacketizer.incoming.on('data', (message) => {
  if (message.type === MessageType.H264) found.push(message.timestamp);
});
depacketizer.incoming.write(messageFromBuffer(Buffer.from(description)));
depacketizer.incoming.write(packet(3600, true, slice(5, 0x88)));
const aggregated = Buffer.concat([Buffer.from([0x78]), sized(slice(1, 0x9a)), sized(slice(1, 0x5b))]);
depacketizer.incoming.write(packet(7200, true, aggregated));
depacketizer.incoming.write(packet(10800, false, slice(1, 0x9a)));
depacketizer.incoming.write(packet(10800, true, slice(1, 0x5b)));
setTimeout(() => console.log(found.join(' ')), 100);
JS
found=$(node read.cjs)
echo "media-stream-library 13.1.1, times of the pictures that came out, of 3600 7200 10800: $found"
[[ $found == "3600 10800" ]]
