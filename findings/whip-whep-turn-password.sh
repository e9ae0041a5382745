#!/usr/bin/env bash
# whip-whep (npm) 1.2.0 gives the browser another password of a TURN server than the WHIP server has sent.
#
# Input: the Link of a WHIP answer with a TURN server, its user and its password (RFC 9725, 4.6). The password is a quoted
# string (RFC 8288, 3; RFC 9110, 5.6.4), which may have a semicolon or an apostrophe in it: here my+Pass/word=, my;Password and
# my'Password.
# Behaviour: the header is split at every semicolon, and both kinds of quotation marks are taken out wherever they stand. The
# first password arrives as it is, the second as "my", the third without its apostrophe. The TURN server refuses these, and what
# a user sees is that no connection comes about from some networks.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund whip-whep@1.2.0 >/dev/null
cat >links.js <<'JS'
import http from 'node:http';
import { WHIPClient } from 'whip-whep/whip.js';

const description = [
  'v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=-', 't=0 0', 'm=video 9 UDP/TLS/RTP/SAVPF 96', 'c=IN IP4 0.0.0.0', 'a=ice-ufrag:name',
  'a=ice-pwd:a-password-of-ice-1234', 'a=mid:0', 'a=rtpmap:96 VP8/90000', '',
].join('\r\n');
const link = (password) => '<turn:turn.example.net?transport=udp>; rel="ice-server"; '
  + `username="user"; credential="${password}"; credential-type="password"`;
const passwords = ['my+Pass/word=', 'my;Password', "my'Password"];
const server = http.createServer((request, response) => {
  response.writeHead(201, { Location: '/session', Link: link(passwords[Number(request.url.slice(1))]) }).end(description);
}).listen(0, '127.0.0.1', async () => {
  for (const [number, password] of passwords.entries()) {
    let configured;
    // What the client uses of an RTCPeerConnection.
    await new WHIPClient().publish({
      createOffer: async () => ({ type: 'offer', sdp: description }), getConfiguration: () => ({}), async setLocalDescription() {},
      async setRemoteDescription() {}, setConfiguration(configuration) { configured = configuration.iceServers[0]; },
    }, `http://127.0.0.1:${server.address().port}/${number}`);
    console.log(password, configured.credential);
  }
  server.close(); server.closeAllConnections();
});
JS
found=$(timeout 60 node links.js)
echo "whip-whep 1.2.0, password of the server and password that the browser gets:"
echo "$found"
[[ $found == "my+Pass/word= my+Pass/word="$'\n'"my;Password my"$'\n'"my'Password myPassword" ]]
