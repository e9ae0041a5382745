#!/usr/bin/env bash
# icy (npm) 2.1.0 cuts the title of a radio programme off at a semicolon.
#
# Input: the metadata that a SHOUTcast or Icecast server puts between the pieces of a stream, StreamTitle='…';StreamUrl='…'; with
# the title "Bach; Mass in B minor". A value ends with an apostrophe and a semicolon; classical stations and lists of artists have
# semicolons in it.
# Behaviour: the text is split at every semicolon. The title is "Bach", and a second key, " Mass in B minor'", has the word undefined
# as its value. The library also writes such metadata, and cannot read what it has written.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . icy@2.1.0 >/dev/null
cat >read.cjs <<'JS'
const icy = require('icy');
const writer = new icy.Writer(4);
const written = [];
writer.on('data', (data) => written.push(data));
writer.queue({ StreamTitle: 'Bach; Mass in B minor', StreamUrl: 'http://radio.example/' });
writer.write(Buffer.from('abcdabcd'));
setImmediate(() => {
  const bytes = Buffer.concat(written);
  const text = bytes.subarray(5, 5 + bytes[4] * 16).toString().replace(/\0+$/, '');
  console.log(`${text} -> ${JSON.stringify(icy.parse(Buffer.from(text)))}`);
});
JS
found=$(node read.cjs)
echo "icy 2.1.0, written -> read: $found"
[[ $found == *"StreamTitle='Bach; Mass in B minor';"*"-> "*'"StreamTitle":"Bach"," Mass in B minor'\''":"undefined"'* ]]
