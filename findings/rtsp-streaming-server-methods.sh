#!/usr/bin/env bash
# rtsp-streaming-server (npm) 2.1.0 says which methods it knows in a header that does not exist.
#
# Input: an OPTIONS request to the server's port for clients, as every client sends it first. The answer lists the methods in the
# Public header (RFC 2326, 12.28; RFC 7826, 18.39).
# Behaviour: the answer is 200 and has no Public header. The methods stand in one named OPTIONS, without commas, and among them is
# STOP, which is no method of RTSP; TEARDOWN, which the server answers, is not. A client that goes by the list has to take the
# server for one that can do nothing, and which request keeps a session alive is guesswork.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . rtsp-streaming-server@2.1.0 >/dev/null
cat >ask.cjs <<'JS'
const net = require('net');
const RtspServer = require('rtsp-streaming-server').default;
const free = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});
(async () => {
  const [serverPort, clientPort] = [await free(), await free()];
  const server = new RtspServer({ serverPort, clientPort, rtpPortStart: 20000, rtpPortCount: 100 });
  await server.start();
  const socket = net.connect(clientPort, '127.0.0.1');
  socket.write(`OPTIONS rtsp://127.0.0.1:${clientPort}/live RTSP/1.0\r\nCSeq: 1\r\n\r\n`);
  let answer = '';
  socket.on('data', (data) => {
    answer += data;
    if (!answer.includes('\r\n\r\n')) return;
    const lines = answer.split('\r\n');
    process.stdout.write(`${lines[0]} | ${lines.filter((line) => /^(public|options):/i.test(line)).join(' | ')}\n`);
    process.exit();
  });
})();
JS
found=$(node ask.cjs)
echo "rtsp-streaming-server 2.1.0: $found"
[[ $found == "RTSP/1.0 200 OK | OPTIONS: DESCRIBE SETUP PLAY STOP" ]]
