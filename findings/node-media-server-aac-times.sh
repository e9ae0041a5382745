#!/usr/bin/env bash
# node-media-server (npm) 4.4.3 plays several AAC frames of a packet at one time.
#
# Input: AAC by RTP at 48 kHz with two frames in a packet, as FFmpeg sends it, then a packet 2048 ticks later. The timestamp is that
# of the first frame of a packet (RFC 3640, 3.1); a frame lasts 1024 ticks, so the second begins 21 ms later.
# Behaviour: the frames come out at 0, 0, 43 and 43 ms. With more frames in a packet there are more of one time: FFmpeg 5.1 put 33
# of silence into one packet, which are 704 ms.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . node-media-server@4.4.3 >/dev/null
cat >read.cjs <<'JS'
const Reader = require('node-media-server/src/protocol/rtp_depayloader.js');
const Packet = require('node-media-server/src/protocol/rtp.js');
const reader = new Reader();
reader.addTrack(97, 'MPEG4-GENERIC', 48000, {
  mode: 'AAC-hbr', config: '1190', sizelength: '13', indexlength: '3', indexdeltalength: '3',
});
let number = 0;
// Two frames of four bytes, and their sizes in front.
const feed = (time) => reader.feed(Packet.parse(Buffer.from([
  0x80, 0xe1, 0, ++number, 0, 0, time >> 8, time & 255, 0, 0, 0, 1, 0, 32, 0, 32, 0, 32, ...Buffer.from('one,two.'),
])));
console.log('seen: ' + [...feed(0), ...feed(2048)].map((frame) => `${frame.dts}:${frame.data.subarray(2)}`).join(' '));
JS
seen=$(node read.cjs | sed -n 's/^seen: //p')
echo "node-media-server 4.4.3, times and frames: $seen"
[[ $seen == "0:one, 0:two. 43:one, 43:two." ]]
