#!/usr/bin/env bash
# jmuxer (npm) 2.1.1 gives an HEVC stream with temporal layers another size.
#
# Input: HEVC of 1280 by 720 with one, two and three temporal layers, as cameras and conference encoders write it so that every
# second picture can be left out. With layers the sequence parameter set says a level for each of them (H.265, 7.3.3).
# Behaviour: what is said of the layers is not skipped, so all that stands after it is read from the wrong bit. With one layer
# the entry of the track in the MP4 file says 1280 by 720, with two 79 by 7, and with three 8644 by 65535. Nothing is said of it; a
# player that makes its picture as large as the file says shows a stripe.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . jmuxer@2.1.1 >/dev/null
cp node_modules/jmuxer/dist/jmuxer.js jmuxer.cjs
cat >read.cjs <<'JS'
const Muxer = require('./jmuxer.cjs');
// A sequence parameter set of 1280 by 720 with that many layers (H.265, 7.3.2.2).
const parameters = (layers) => {
  let bits = '';
  const fixed = (size, ...values) => values.forEach((value) => (bits += value.toString(2).padStart(size, '0')));
  const golomb = (...values) => values.forEach((value) => {
    const text = (value + 1).toString(2);
    bits += text.padStart(text.length * 2 - 1, '0');
  });
  fixed(8, 0x42, 1);
  fixed(4, 0);
  fixed(3, layers - 1);
  fixed(1, 1);
  fixed(8, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93);
  for (let layer = 1; layer < layers; layer++) fixed(2, 1);
  if (layers > 1) for (let layer = layers; layer <= 8; layer++) fixed(2, 0);
  for (let layer = 1; layer < layers; layer++) fixed(8, 90);
  golomb(0, 1, 1280, 720);
  fixed(1, 0);
  golomb(0, 0, 4);
  fixed(1, 0);
  golomb(2, 0, 0, 0, 3, 0, 3, 0, 0);
  fixed(1, 0, 1, 1, 0);
  golomb(0);
  fixed(1, 0, 1, 1, 0, 0, 1);
  const bytes = bits.padEnd(Math.ceil(bits.length / 8) * 8, '0').match(/.{8}/g).map((byte) => parseInt(byte, 2));
  const escaped = [];
  for (const byte of bytes) {
    if (byte < 4 && escaped.length > 1 && escaped.at(-1) === 0 && escaped.at(-2) === 0) escaped.push(3);
    escaped.push(byte);
  }
  return escaped;
};
const size = (layers) => new Promise((resolve) => {
  const muxer = new Muxer({ mode: 'video', videoCodec: 'H265', flushingTime: 0 });
  muxer.remuxController.on('buffer', ({ payload }) => {
    const bytes = Buffer.from(payload);
    const entry = bytes.indexOf('hev1');
    if (bytes.includes('moov')) resolve(`${bytes.readUInt16BE(entry + 28)} by ${bytes.readUInt16BE(entry + 30)}`);
  });
  const units = [
    [0x40, 1, 12, 1, 255, 255, 1], parameters(layers), [0x44, 1, 0xc1, 0x72, 0xb4, 0x62, 0x40], [0x26, 1, 0xaf, 1, 2, 3],
    [0x02, 1, 0xd0, 1, 2, 3], [0x02, 1, 0xd0, 1, 2, 3],
  ];
  muxer.feed({ video: Uint8Array.from(units.flatMap((unit) => [0, 0, 0, 1, ...unit])), duration: 120 });
});
(async () => {
  console.log([await size(1), await size(2), await size(3)].join(' / '));
  process.exit(0);
})();
JS
seen=$(timeout 60 node read.cjs)
echo "jmuxer 2.1.1, size with one / two / three layers: $seen"
[[ $seen == "1280 by 720 / 79 by 7 / 8644 by 65535" ]]
