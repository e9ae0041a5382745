#!/usr/bin/env bash
# codem-isoboxer 0.3.10 and @svta/cml-iso-bmff 1.0.6 (npm) read a track encryption box of cbcs as if it were of cenc.
#
# Input: tenc of version 1, as FairPlay and CMAF with cbcs have it: a pattern of one encrypted block of ten, protected, no IV
# for each sample, a key, and a constant IV of 16 bytes (ISO/IEC 23001-7, 8.2).
# Behaviour: the byte of the pattern and that of whether the track is protected are read as one number: 6401, where it can be 0
# or 1. There is no field for the pattern, and none for the constant IV, without which nothing can be decrypted. Version 0,
# which has a zero in that byte, is right, so only encryption with a pattern is concerned.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund codem-isoboxer@0.3.10 @svta/cml-iso-bmff@1.0.6 >/dev/null
cat >read.js <<'JS'
import isoboxer from 'codem-isoboxer';
import * as cml from '@svta/cml-iso-bmff';
// tenc (ISO/IEC 23001-7, 8.2): version 1, pattern 1:9, protected, no IV for each sample, key id, constant IV of 16 bytes.
const content = [...[1, 0, 0, 0, 0, 0x19, 1, 0], ...Array(16).fill(0xab), 16, ...Array(16).fill(0xcd)];
const bytes = Uint8Array.from([0, 0, 0, content.length + 8, 0x74, 0x65, 0x6e, 0x63, ...content]);
const old = isoboxer.parseBuffer(bytes.buffer).boxes[0];
const [box] = cml.readIsoBoxes(bytes, { readers: { tenc: cml.readTenc } });
const names = Object.keys(box).filter((name) => /default/.test(name));
console.log(old.default_IsEncrypted, box.defaultIsEncrypted, names.join(' '));
JS
read=$(node read.js)
echo "codem-isoboxer 0.3.10 and @svta/cml-iso-bmff 1.0.6 read as whether it is encrypted, and the latter has the fields: $read"
[[ $read == "6401 6401 defaultIsEncrypted defaultIvSize defaultKid" ]]
