#!/usr/bin/env bash
# icecast-parser (npm) 4.0.2 shows the address of a radio station as its title while the title is empty.
#
# Input: a station on 127.0.0.1 that sends the metadata of SHOUTcast and Icecast, StreamTitle='';StreamUrl='http://radio.example/';
# as encoders do between two songs, and the same with the title "News".
# Behaviour: with a title both values are right. A value is taken to be at least one character long, so that the empty title
# goes on up to the end of the next value: it is ';StreamUrl='http://radio.example/ and there is no StreamUrl.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . icecast-parser@4.0.2 >/dev/null
cat >read.cjs <<'JS'
const http = require('http');
const { Parser } = require('icecast-parser');
const station = http.createServer((request, response) => {
  const text = `StreamTitle='${request.url === '/news' ? 'News' : ''}';StreamUrl='http://radio.example/';`;
  const metadata = Buffer.alloc(Math.ceil(text.length / 16) * 16);
  metadata.write(text);
  response.writeHead(200, { 'Content-Type': 'audio/mpeg', 'icy-metaint': '1024' });
  response.end(Buffer.concat([Buffer.alloc(1024), Buffer.from([metadata.length / 16]), metadata, Buffer.alloc(1024)]));
});
const read = (path) => new Promise((resolve, reject) => {
  const parser = new Parser({ url: `http://127.0.0.1:${station.address().port}${path}`, autoUpdate: false });
  parser.on('metadata', (metadata) => resolve(JSON.stringify([...metadata])));
  parser.on('error', reject);
});
station.listen(0, '127.0.0.1', async () => {
  console.log(await read('/news'));
  console.log(await read('/'));
  process.exit();
});
JS
found=$(node read.cjs)
echo "icecast-parser 4.0.2, with a title and with an empty one:"
echo "$found"
[[ $found == '[["StreamTitle","News"],["StreamUrl","http://radio.example/"]]
[["StreamTitle","'\'';StreamUrl='\''http://radio.example/"]]' ]]
