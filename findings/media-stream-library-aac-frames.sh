#!/usr/bin/env bash
# media-stream-library (npm) 13.1.1, which plays cameras in browsers, takes the AAC frames of a packet for one frame.
#
# Input: an RTSP description of AAC in the mode AAC-hbr and two packets of RTP: one with a frame, one with three, each with its size
# in front (RFC 3640, 3.2.1 and 3.3.6). FFmpeg puts as many frames into a packet as fit.
# Behaviour: the sizes are skipped and not read. Of the second packet comes one piece of twelve bytes instead of three of four, with
# the time of the first. A decoder that is given it plays the first frame of each packet, or nothing.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . media-stream-library@13.1.1 >/dev/null
cat >read.cjs <<'JS'
const { AACDepay, MessageType, messageFromBuffer } = require('media-stream-library');
const description = [
  'v=0', 'o=- 1 1 IN IP4 127.0.0.1', 's=-', 't=0 0', 'm=audio 0 RTP/AVP 97', 'a=rtpmap:97 MPEG4-GENERIC/48000/2',
  'a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190',
  'a=control:track1', '',
].join('\r\n');
const packet = (number, time, frames) => {
  const head = Buffer.from('80e1000000000000aabbccdd', 'hex');
  head.writeUInt16BE(number, 2);
  head.writeUInt32BE(time, 4);
  const sizes = Buffer.alloc(2 + 2 * frames.length);
  sizes.writeUInt16BE(16 * frames.length);
  frames.forEach((frame, index) => sizes.writeUInt16BE(frame.length << 3, 2 + 2 * index));
  return { type: MessageType.RTP, channel: 0, data: Buffer.concat([head, sizes, ...frames]) };
};
const frame = (mark) => Buffer.from([0x21, mark, mark, mark]);
const depacketizer = new AACDepay();
const found = [];
depacketizer.incoming.on('data', (message) => {
  if (message.type === MessageType.ELEMENTARY) found.push(`${message.timestamp}:${message.data.length}`);
});
depacketizer.incoming.write(messageFromBuffer(Buffer.from(description)));
depacketizer.incoming.write(packet(0, 1024, [frame(1)]));
depacketizer.incoming.write(packet(1, 2048, [frame(2), frame(3), frame(4)]));
setTimeout(() => console.log(found.join(' ')), 100);
JS
found=$(node read.cjs)
echo "media-stream-library 13.1.1, time and size of what came out of four frames of four bytes: $found"
[[ $found == "1024:4 2048:12" ]]
