#!/usr/bin/env bash
# @webex/ts-sdp (npm) 1.8.2 makes the reflexive candidates of browsers invalid.
#
# Input: a server reflexive candidate as Chrome and Firefox write it while they hide the address of the machine, with raddr 0.0.0.0
# and rport 0, and one with the related port 50000. Address and port are in the grammar of each such candidate, and must be present
# (RFC 8839, 5.1).
# Behaviour: parse() reads both right, and toString() leaves rport out if it is 0. With 50000 it is written. A peer that reads
# candidates by their grammar refuses those of every browser behind a NAT, and is left with names that only the local network knows.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . @webex/ts-sdp@1.8.2 >/dev/null
cat >rewrite.cjs <<'JS'
const { parse } = require('@webex/ts-sdp');
const lines = [
  'v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'c=IN IP4 0.0.0.0',
  'a=candidate:1 1 udp 1677729535 192.0.2.1 50001 typ srflx raddr 0.0.0.0 rport 0',
  'a=candidate:2 1 udp 1677729534 192.0.2.1 50002 typ srflx raddr 0.0.0.0 rport 50000', 'a=rtpmap:111 opus/48000/2', '',
];
console.log(parse(lines.join('\r\n')).toString());
JS
seen=$(node rewrite.cjs | tr -d '\r' | sed -n 's/^a=candidate.*typ //p' | paste -sd/)
echo "@webex/ts-sdp 1.8.2 wrote for the related ports 0 and 50000: $seen"
[[ $seen == "srflx raddr 0.0.0.0/srflx raddr 0.0.0.0 rport 50000" ]]
