#!/usr/bin/env bash
# node-media-server (npm) 4.4.3 loses what stands after an array in the metadata of a stream.
#
# Input: onMetaData as an AMF0 object of width, a property, and height. The property is an object once and an ECMA array with the
# same content once (AMF0, 2.5 and 2.10); both end with the same three bytes.
# Behaviour: after the object the height is read. The length of an ECMA array comes out as one byte more than it has, so that
# reading goes on inside the next name, takes it for the end, and leaves the height out without a word. An array as the last
# property, as most encoders send the whole metadata, does no harm.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . node-media-server@4.4.3 >/dev/null
cat >read.cjs <<'JS'
const { decodeAmf0Data } = require('node-media-server/src/protocol/amf.js');
const word = (text) => [0, text.length, ...Buffer.from(text)];
const number = (value) => [0, ...[...new Uint8Array(Float64Array.of(value).buffer)].reverse()];
const content = [...word('a'), ...number(1), 0, 0, 9];
const read = (value) => JSON.stringify(decodeAmf0Data(Buffer.from([
  2, ...word('onMetaData'), 3, ...word('width'), ...number(1280), ...word('inner'), ...value, ...word('height'), ...number(720),
  0, 0, 9,
])).dataObj);
console.log(read([3, ...content]) + ' / ' + read([8, 0, 0, 0, 1, ...content]));
JS
seen=$(node read.cjs)
echo "node-media-server 4.4.3, object / array: $seen"
[[ $seen == '{"width":1280,"inner":{"a":1},"height":720} / {"width":1280,"inner":{"a":1}}' ]]
