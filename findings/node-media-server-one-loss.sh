#!/usr/bin/env bash
# node-media-server (npm) 4.4.3 shows no large picture for 30000 packets after one that is missing.
#
# Input: H.264 by RTP in which each picture is cut into three fragments (FU-A: RFC 6184, 5.8). One packet in the middle of the first
# of ten thousand pictures is missing, as when a camera leaves it out whose connection is too slow; sequence numbers are there to
# tell (RFC 3550, 5.1).
# Behaviour: the first picture is dropped, as it must be. The number of the missing packet's predecessor stays the one with which
# all later packets are compared, so each of them counts as coming after a gap, and ends the picture that it is part of. Only when the
# difference reaches 30000, which takes minutes, pictures come through again.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . node-media-server@4.4.3 >/dev/null
cat >read.cjs <<'JS'
const Reader = require('node-media-server/src/protocol/rtp_depayloader.js');
const Packet = require('node-media-server/src/protocol/rtp.js');
// The pictures that come out of COUNT, if packet MISSING does not arrive.
const read = (count, missing) => {
  const reader = new Reader();
  reader.addTrack(96, 'H264', 90000, { 'sprop-parameter-sets': 'Z0LAHtkA,aM48gA==' });
  const seen = [];
  for (let picture = 0; picture < count; picture++) {
    [0x81, 0x01, 0x41].forEach((fragment, at) => {
      const bytes = Buffer.from([0x80, at === 2 ? 0xe0 : 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x7c, fragment, 1, 2, 3]);
      bytes.writeUInt16BE((picture * 3 + at) % 65536, 2);
      bytes.writeUInt32BE(picture * 3600, 4);
      if (picture * 3 + at === missing) return;
      if (reader.feed(Packet.parse(bytes)).some((tag) => tag.data[1] === 1)) seen.push(picture);
    });
  }
  return `${seen.length} from ${seen[0]}`;
};
console.log(`seen: ${read(10050, -1)} / ${read(10050, 1)}`);
JS
seen=$(node read.cjs | sed -n 's/^seen: //p')
echo "node-media-server 4.4.3, pictures of 10050 without / with a loss in the first: $seen"
[[ $seen == "10050 from 0 / 50 from 10000" ]]
