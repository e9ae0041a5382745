#!/usr/bin/env bash
# werift-rtp (npm) 0.8.9 reads an RTCP packet on into the next one, and finds losses that nobody reported.
#
# Input: a compound packet (RFC 3550, 6.1; RFC 4585, 3.1) of a receiver: an empty report, its name, a NACK for packet 100 and a
# request for a picture (PLI). Each packet says how long it is (RFC 3550, 6.4.1).
# Behaviour: four packets come out, but the reader of each is given all the bytes up to the end. The NACK names six more packets as
# lost, made of the bytes of the PLI, which would be sent again; the name is followed by four sources that do not exist. If the NACK
# is the last packet, it has its one loss. So what is wrong depends on what a receiver puts after it.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . werift-rtp@0.8.9 >/dev/null
cat >read.cjs <<'JS'
const { RtcpPacketConverter } = require('werift-rtp');
const report = [0x80, 201, 0, 1, 0, 0, 0, 1];
const name = [0x81, 202, 0, 3, 0, 0, 0, 1, 1, 5, ...Buffer.from('video'), 0];
const nack = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 100, 0, 0];
const pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
const read = (...packets) => {
  const read = RtcpPacketConverter.deSerialize(Buffer.from(packets.flat()));
  const sources = read.find((packet) => packet.type === 202).chunks.map((chunk) => chunk.source);
  return `lost ${read.find((packet) => packet.type === 205).feedback.lost.join(' ')}, ${sources.length} source(s)`;
};
console.log(read(report, name, nack) + ' / ' + read(report, name, nack, pli));
JS
seen=$(node read.cjs)
echo "werift-rtp 0.8.9 without / with a PLI after the NACK: $seen"
[[ $seen == "lost 100, 3 source(s) / lost 100 33230 33232 0 1 0 2, 5 source(s)" ]]
