#!/usr/bin/env bash
# sdp-jingle-json (npm) 3.1.0 gives a codec the parameters of another whose number begins with its own.
#
# Input: an offer of sound with Opus as payload type 96 and G.722 as 9, its static number (RFC 3551, 6). Parameters and feedback are
# said of Opus alone (a=fmtp, RFC 8866, 6.15; a=rtcp-fb, RFC 4585, 4.2).
# Behaviour: what is said of 96 is found for 9 as well, since lines are compared by their beginning. Written as SDP again, G.722
# asks for forward error correction inside the codec and for transport-wide feedback, which its peer never offered. A gateway
# that has passed the offer on waits for feedback of a sender that does not give any.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . sdp-jingle-json@3.1.0 >/dev/null
cat >rewrite.cjs <<'JS'
const { toSessionJSON, toSessionSDP } = require('sdp-jingle-json');
const lines = [
  'v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'm=audio 9 UDP/TLS/RTP/SAVPF 96 9', 'c=IN IP4 0.0.0.0',
  'a=rtpmap:96 opus/48000/2', 'a=rtpmap:9 G722/8000', 'a=fmtp:96 useinbandfec=1', 'a=rtcp-fb:96 transport-cc', '',
];
const options = { role: 'initiator', direction: 'outgoing' };
console.log(toSessionSDP(toSessionJSON(lines.join('\r\n'), options), options));
JS
seen=$(node rewrite.cjs | tr -d '\r' | grep -E '^a=(fmtp|rtcp-fb)' | paste -sd' ')
echo "sdp-jingle-json 3.1.0 wrote $seen"
[[ $seen == "a=fmtp:96 useinbandfec=1 a=rtcp-fb:96 transport-cc a=fmtp:9 useinbandfec=1 a=rtcp-fb:9 transport-cc" ]]
