#!/usr/bin/env bash
# node-media-server (npm) 4.4.3 makes two pictures of one that has two slices.
#
# Input: H.264 by RTP as cameras send it that cut a picture into slices: two single NAL unit packets of one timestamp, of which the
# second has the marker, then a picture of one slice (RFC 6184, 5.1 and 5.6: timestamp and marker say what belongs together).
# Behaviour: its reader of RTSP cameras gives a video tag of FLV for each slice, with the same time. A tag has to hold a whole
# picture (FLV 10.1, E.4.3.2), so players get half a picture twice.
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
reader.addTrack(96, 'H264', 90000, { 'sprop-parameter-sets': 'Z0LAHtkA,aM48gA==' });
let number = 0;
const feed = (time, marker, ...unit) => reader.feed(Packet.parse(Buffer.from([
  0x80, marker ? 0xe0 : 0x60, 0, ++number, 0, 0, time >> 8, time & 255, 0, 0, 0, 1, ...unit,
])));
const tags = [feed(0, false, 0x65, 0x88, 1), feed(0, true, 0x65, 0x44, 2), feed(3600, true, 0x41, 0x9a, 3)].flat();
const pictures = tags.filter((tag) => tag.data[1] === 1);
console.log('seen: ' + pictures.map((tag) => `${tag.dts} ms ${tag.data.subarray(9).toString('hex')}`));
JS
seen=$(node read.cjs | sed -n 's/^seen: //p')
echo "node-media-server 4.4.3 made of two pictures: $seen"
[[ $seen == "0 ms 658801,0 ms 654402,40 ms 419a03" ]]
