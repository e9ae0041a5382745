#!/usr/bin/env bash
# whip-whep (npm) 1.2.0 makes a description that is none out of a restart of ICE, if the server has two addresses.
#
# Input: a WHIP session whose ICE is restarted (RFC 9725, 4.3.3): the server answers the PATCH with a fragment that has two
# candidates, an IPv4 and an IPv6 address. The browser's RTCPeerConnection is stood in for by an object that keeps what it is
# given.
# Behaviour: the candidates are joined with commas, so the second line of the description that the browser gets begins with one.
# A line of SDP begins with a letter and an equals sign (RFC 8866, 9). With one candidate there is nothing to join: a publisher
# survives a change of networks at a server with one address, and not at one with two.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund whip-whep@1.2.0 >/dev/null
cat >restart.js <<'JS'
import http from 'node:http';
import { WHIPClient } from 'whip-whep/whip.js';

const lines = (...all) => all.join('\r\n') + '\r\n';
const description = (name) => lines(
  'v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=-', 't=0 0', 'm=video 9 UDP/TLS/RTP/SAVPF 96', 'c=IN IP4 0.0.0.0', `a=ice-ufrag:${name}`,
  `a=ice-pwd:${name}-password-of-ice-1234`, 'a=mid:0', 'a=rtpmap:96 VP8/90000',
);
const candidate = (number, address) => `a=candidate:${number} 1 udp 2130706431 ${address} 4000 typ host`;
const fragment = lines(
  'a=ice-lite', 'a=ice-ufrag:new', 'a=ice-pwd:new-password-of-ice-1234', 'm=video 9 UDP/TLS/RTP/SAVPF 0', 'a=mid:0',
  candidate(1, '192.0.2.1'), candidate(2, '2001:db8::1'), 'a=end-of-candidates',
);

// What the client uses of an RTCPeerConnection.
const connection = {
  createOffer: async () => ({ type: 'offer', sdp: description('offer') }), restartIce() {}, setLocalDescription: async () => {},
  setRemoteDescription: async (given) => { connection.remoteDescription = { type: given.type, sdp: given.sdp }; },
  getConfiguration: () => ({}), getTransceivers: () => [{ mid: '0', receiver: { track: { kind: 'video' } } }],
};
const server = http.createServer((request, response) => {
  if (request.method === 'POST') response.writeHead(201, { Location: '/session', ETag: '"1"' }).end(description('answer'));
  else response.writeHead(200, { ETag: '"2"', 'Content-Type': 'application/trickle-ice-sdpfrag' }).end(fragment);
}).listen(0, '127.0.0.1', async () => {
  const client = new WHIPClient();
  await client.publish(connection, `http://127.0.0.1:${server.address().port}/whip`);
  await client.restart();
  for (const line of connection.remoteDescription.sdp.split('\r\n')) if (line.includes('candidate')) console.log(line);
  server.close(); server.closeAllConnections();
});
JS
found=$(timeout 60 node restart.js)
echo "whip-whep 1.2.0 gives the browser after a restart of ICE:"
echo "$found"
kept='1 udp 2130706431'
[[ $found == "a=candidate:1 $kept 192.0.2.1 4000 typ host"$'\n'",a=candidate:2 $kept 2001:db8::1 4000 typ host" ]]
