#!/usr/bin/env bash
# @eyevinn/whip-web-client (npm) 1.1.7 finds no ICE server in a Link header that is written as RFC 9725 has it.
#
# Input: a WHIP endpoint that answers OPTIONS with a Link to a STUN server, or to a TURN server with its credentials (RFC 9725,
# 4.6), whose address stands in angle brackets (RFC 8288, 3) and one with a STUN server without the brackets. The browser's
# RTCPeerConnection is stood in for by an object that keeps its configuration.
# Behaviour: setIceServersFromEndpoint() configures no server at all in the first two cases, and so replaces the default server
# with none. The third, which is no valid Link, it reads. Behind a firewall publishing fails without a word about the links.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund @eyevinn/whip-web-client@1.1.7 >/dev/null
cat >links.js <<'JS'
import http from 'node:http';
let configured;
// What the client uses of the browser's RTCPeerConnection.
globalThis.RTCPeerConnection = class extends EventTarget {
  setConfiguration(configuration) { configured = configuration; }
};
const { WHIPClient } = await import('@eyevinn/whip-web-client');
const links = [
  '<stun:stun.example.net>; rel="ice-server"',
  '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="user"; credential="myPassword"; credential-type="password"',
  'stun:stun.example.net; rel="ice-server"',
];
const server = http.createServer((request, response) => {
  response.writeHead(200, { 'Access-Control-Allow-Methods': 'POST, DELETE', Link: links[Number(request.url.slice(1))] }).end();
}).listen(0, '127.0.0.1', async () => {
  const found = [];
  for (const number of links.keys()) {
    const endpoint = `http://127.0.0.1:${server.address().port}/${number}`;
    const client = new WHIPClient({ endpoint, opts: { authkey: 'token' } });
    await client.setIceServersFromEndpoint();
    found.push(configured.iceServers.map((one) => one.urls).join() || 'none');
  }
  console.log(found.join(' '));
  process.exit();
});
JS
found=$(timeout 60 node links.js)
echo "@eyevinn/whip-web-client 1.1.7 finds in the links of RFC 9725 for STUN and TURN, and in one without angle brackets: $found"
[[ $found == "none none stun:stun.example.net" ]]
