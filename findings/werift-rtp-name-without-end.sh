#!/usr/bin/env bash
# werift-rtp (npm) 0.8.9 writes names of sources without an end, depending on how long the name is; rtp.js (npm) 0.15.5 refuses
# them.
#
# Input: an RTCP source description with the names "abc" and "ab". The list of a source's items ends with one or more zero bytes, up
# to the next word (RFC 3550, 6.5): with "ab", which fills a word, that is four of them.
# Behaviour: the packet with "abc" has the end, and both libraries read it. That with "ab" has none: rtp.js fails with RangeError,
# and werift-rtp reads it, but of two such sources in a packet it makes the second one's number out of the bytes of its name. One
# name in four is of such a length, so some participants of a call have a name and others do not.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . werift-rtp@0.8.9 rtp.js@0.15.5 >/dev/null
cat >read.cjs <<'JS'
const { RtcpPacketConverter, RtcpSourceDescriptionPacket, SourceDescriptionChunk, SourceDescriptionItem } = require('werift-rtp');
const { SdesPacket } = require('rtp.js').packets;
const write = (...names) => new RtcpSourceDescriptionPacket({
  chunks: names.map((text, at) => new SourceDescriptionChunk({
    source: at + 1, items: [new SourceDescriptionItem({ type: 1, text })],
  })),
}).serialize();
const other = (bytes) => {
  try {
    new SdesPacket(new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
    return 'read';
  } catch (error) {
    return error.name;
  }
};
const own = (bytes) => RtcpPacketConverter.deSerialize(bytes)[0].chunks.map((chunk) => chunk.source).join(' ');
const [end, none, both] = [write('abc'), write('ab'), write('ab', 'ab')];
console.log(`${end.toString('hex', 10)} ${other(end)} / ${none.toString('hex', 10)} ${other(none)} / sources ${own(both)}`);
JS
seen=$(node read.cjs)
echo "werift-rtp 0.8.9 wrote abc, and rtp.js 0.15.5: / ab / werift-rtp read two of ab: $seen"
[[ $seen == "616263000000 read / 6162 RangeError / sources 1 16933218" ]]
