#!/usr/bin/env bash
# whip-whep (npm) 1.2.0 sends If-Match with candidates when it publishes, and leaves it out when it plays.
#
# Input: a server that answers the offer of its WHIP client and that of its WHEP client with 201 and an ETag. A candidate that
# is found later is sent with PATCH, whose If-Match names the session's latest ETag (RFC 9725, 4.3.1 and 4.3.2; WHEP has the
# same). The browser's RTCPeerConnection is stood in for by an object that finds one candidate.
# Behaviour: the WHIP client keeps the ETag of the answer and sends it. The WHEP client, of which the rest is the same, does not
# read it, so its PATCH has no If-Match: a server that insists on it answers 428, and viewers behind strict firewalls never
# connect where publishers do.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund whip-whep@1.2.0 >/dev/null
cat >trickle.js <<'JS'
import http from 'node:http';
import { WHEPClient } from 'whip-whep/whep.js';
import { WHIPClient } from 'whip-whep/whip.js';

const description = [
  'v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=-', 't=0 0', 'm=video 9 UDP/TLS/RTP/SAVPF 96', 'c=IN IP4 0.0.0.0', 'a=ice-ufrag:name',
  'a=ice-pwd:a-password-of-ice-1234', 'a=mid:0', 'a=rtpmap:96 VP8/90000', '',
].join('\r\n');
const candidate = 'candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host';
// What the clients use of an RTCPeerConnection: one that finds one candidate as soon as it has its own description.
const connection = () => ({
  createOffer: async () => ({ type: 'offer', sdp: description }),
  getConfiguration: () => ({}),
  getTransceivers: () => [{ mid: '0', receiver: { track: { kind: 'video' } } }],
  async setLocalDescription() { this.onicecandidate({ candidate: { sdpMid: '0', sdpMLineIndex: 0, candidate } }); },
  async setRemoteDescription() {},
});
let patched;
const server = http.createServer((request, response) => {
  const headers = { Location: '/session', ETag: '"38sdf4fdsf54"' };
  if (request.method === 'POST') return response.writeHead(201, headers).end(description);
  response.writeHead(204).end();
  patched(request.headers['if-match'] ?? 'none');
}).listen(0, '127.0.0.1', async () => {
  const url = `http://127.0.0.1:${server.address().port}/`;
  const found = [];
  const publish = () => new WHIPClient().publish(connection(), url);
  const view = () => new WHEPClient().view(connection(), url);
  for (const begin of [publish, view]) {
    const seen = new Promise((resolve) => { patched = resolve; });
    await begin();
    found.push(await seen);
  }
  console.log(found.join(' '));
  server.close(); server.closeAllConnections();
});
JS
found=$(timeout 60 node trickle.js)
echo "whip-whep 1.2.0, If-Match of the WHIP client and of the WHEP client: $found"
[[ $found == '"38sdf4fdsf54" none' ]]
