#!/usr/bin/env bash
# sdp-transform (npm) 3.0.0 rewrites a WebRTC offer into one that promises less.
#
# Input: an offer with a=ice-options:trickle ice2 (RFC 8839, 5.6: any number of options) and a=rtcp-mux-only (RFC 8858, 3), both
# of which RFC 8829 (JSEP), 5.2.1 asks every offerer to write.
# Behaviour: write(parse(text)) keeps the first option and drops ice2, so the other side must take the offerer for an agent of the
# old ICE; a=rtcp-mux-only goes without a trace, so it must keep a port for RTCP. Attributes the library has never heard of are
# kept (here a=x-unknown:1), so it is the known names that are not safe.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund sdp-transform@3.0.0 >/dev/null
cat >rewrite.js <<'JS'
import * as module from 'sdp-transform';
const sdp = module.default ?? module;
const lines = [
  'v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=ice-options:trickle ice2', 'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'c=IN IP4 0.0.0.0', 'a=rtcp-mux', 'a=rtcp-mux-only', 'a=x-unknown:1', 'a=rtpmap:96 H264/90000',
];
console.log(sdp.write(sdp.parse(lines.join('\r\n') + '\r\n')));
JS
written=$(node rewrite.js | tr -d '\r')
grep -E '^a=(ice-options|rtcp-mux|x-unknown)' <<<"$written"
[[ $(grep -E '^a=(ice-options|rtcp-mux|x-unknown)' <<<"$written" | sort | paste -sd' ') == "a=ice-options:trickle a=rtcp-mux a=x-unknown:1" ]]
