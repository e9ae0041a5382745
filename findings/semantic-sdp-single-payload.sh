#!/usr/bin/env bash
# semantic-sdp (npm) 3.31.1 cannot read a simulcast offer that allows one codec for a stream.
#
# Input: offers of two simulcast streams, a=rid:hi send pt=…, whose restriction to payload types is a list of one or more (RFC 8851,
# 4 and 10): once 96 and 98, once 96 alone, as an encoder with one codec writes it.
# Behaviour: with two the list is read. The single one has been made a number by then, and parse() fails with "list[k].split is not
# a function". Without pt the offer is read. So a publisher is refused for being more exact.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . semantic-sdp@3.31.1 >/dev/null
cat >read.cjs <<'JS'
const { SDPInfo } = require('semantic-sdp');
const read = (restriction) => {
  const lines = [
    'v=0', 'o=- 1 1 IN IP4 192.0.2.1', 's=-', 't=0 0', 'a=group:BUNDLE 0', 'm=video 9 UDP/TLS/RTP/SAVPF 96 98', 'c=IN IP4 0.0.0.0',
    'a=ice-ufrag:abcd', 'a=ice-pwd:abcdefghijklmnopqrstuv', 'a=fingerprint:sha-256 ' + Array(32).fill('AB').join(':'),
    'a=setup:actpass', 'a=mid:0', 'a=sendonly', 'a=rtcp-mux', 'a=rtpmap:96 H264/90000', 'a=rtpmap:98 VP8/90000',
    'a=rid:hi send' + restriction, 'a=rid:lo send' + restriction, 'a=simulcast:send hi;lo',
  ];
  try {
    const rids = SDPInfo.parse(lines.join('\r\n') + '\r\n').getMedias()[0].getRIDs();
    return [...rids.values()].map((rid) => `${rid.getId()} [${rid.getFormats()}]`).join(' ');
  } catch (error) {
    return error.message;
  }
};
console.log([' pt=96,98', ' pt=96', ''].map(read).join(' / '));
JS
seen=$(node read.cjs)
echo "semantic-sdp 3.31.1 with two / one / no payload type: $seen"
[[ $seen == "hi [96,98] lo [96,98] / list[k].split is not a function / hi [] lo []" ]]
