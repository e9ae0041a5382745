#!/usr/bin/env bash
# rtp-parser (npm) 1.0.0 names contributing sources that do not exist.
#
# Input: an RTP packet of a mixer with two contributing sources, 0x11111111 and 0x22222222, which stand after the twelve bytes of
# the fixed header (RFC 3550, 5.1), and four bytes of payload.
# Behaviour: the sources are read three bytes too early: the first is the end of the packet's own source and one byte of the first
# contributing one. The payload is found at the right place, so that everything else of the packet is right, and a list of who
# speaks has names that nobody has.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . rtp-parser@1.0.0 >/dev/null
cat >read.cjs <<'JS'
const { parseRtpPacket } = require('rtp-parser');
const packet = parseRtpPacket(Buffer.from('82000001' + '00000000' + 'aabbccdd' + '11111111' + '22222222' + '01020304', 'hex'));
console.log([packet.ssrc, ...packet.csrc].map((source) => source.toString(16)).join(' '), packet.payload.toString('hex'));
JS
found=$(node read.cjs)
echo "rtp-parser 1.0.0, source, two contributing sources and payload: $found"
[[ $found == "aabbccdd bbccdd11 11111122 01020304" ]]
