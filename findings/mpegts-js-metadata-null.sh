#!/usr/bin/env bash
# mpegts.js (npm) 1.8.2 drops all metadata of an FLV stream that comes after a null.
#
# Input: onMetaData as an AMF0 object of width, a third property, and height (FLV 10.1, E.4.4). The third property is a date, then
# null, then undefined; the last two are types of AMF0 without a value (AMF0, 2.7 and 2.8), and the FLV specification lists them.
# Behaviour: with the date all three are read. With null or undefined the reader of script data, whose warning calls it an
# unsupported type, leaves out the rest of the message: the height is lost, as frame rate and bit rates would be. An encoder that
# writes null for what it does not know yet decides by the order of its properties what this player learns.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts mpegts.js@1.8.2 >/dev/null
cp -r node_modules/mpegts.js/src source
cat >read.js <<'JS'
import AMF from './source/demux/amf-parser.js';
const word = (text) => [0, text.length, ...Buffer.from(text)];
const double = (value) => [...new Uint8Array(Float64Array.of(value).buffer)].reverse();
const read = (value) => {
  const message = Uint8Array.from([
    2, ...word('onMetaData'), 3, ...word('width'), 0, ...double(1280), ...word('recorded'), ...value,
    ...word('height'), 0, ...double(720), 0, 0, 9,
  ]);
  return Object.keys(AMF.parseScriptData(message.buffer, 0, message.length).onMetaData).join(' ');
};
console.log([[11, ...double(1e12), 0, 0], [5], [6]].map(read).join(' / '));
JS
seen=$(node read.js 2>/dev/null)
echo "mpegts.js 1.8.2 with a date / null / undefined: $seen"
[[ $seen == "width recorded height / width recorded / width recorded" ]]
