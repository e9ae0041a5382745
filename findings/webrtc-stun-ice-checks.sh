#!/usr/bin/env bash
# webrtc-stun (npm) 3.0.0 finds the integrity of every check of ICE wrong, and cannot read the one that picks the pair.
#
# Input: the checks that a browser sends: a STUN binding request with USERNAME, PRIORITY, MESSAGE-INTEGRITY and FINGERPRINT, and the
# same with USE-CANDIDATE, an attribute without a value (RFC 8445, 7.1.1 and 7.1.2; RFC 8489, 14.5). The integrity is over the
# message as it was sent.
# Behaviour: a request without PRIORITY is right. For the check the integrity is computed over what the library has kept of it, in
# which PRIORITY is missing, so that isBindingRequest() with the right password says no. USE-CANDIDATE has the length 0, which
# loadBuffer() takes for an error: nothing of that check is read.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . webrtc-stun@3.0.0 >/dev/null
cat >read.cjs <<'JS'
const { createHmac } = require('crypto');
const { createBlank } = require('webrtc-stun');
const password = 'secret-password-of-ice';
const checksum = (bytes) => {
  let rest = -1;
  for (const byte of bytes) {
    rest ^= byte;
    for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  }
  return (~rest ^ 0x5354554e) >>> 0;
};
const attribute = (type, value) => {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type);
  head.writeUInt16BE(value.length, 2);
  return Buffer.concat([head, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
};
const message = (body, length) => {
  const head = Buffer.from('000100002112a442' + '0102030405060708090a0b0c', 'hex');
  head.writeUInt16BE(length, 2);
  return Buffer.concat([head, body]);
};
const request = (...attributes) => {
  let body = Buffer.concat([attribute(0x0006, Buffer.from('server:client')), ...attributes]);
  const integrity = createHmac('sha1', password).update(message(body, body.length + 24)).digest();
  body = Buffer.concat([body, attribute(0x0008, integrity)]);
  const print = Buffer.alloc(4);
  print.writeUInt32BE(checksum(message(body, body.length + 8)));
  body = Buffer.concat([body, attribute(0x8028, print)]);
  return message(body, body.length);
};
const read = (bytes) => {
  const found = createBlank();
  console.log = () => {};
  return found.loadBuffer(bytes) ? `integrity ${found.isBindingRequest({ integrityKey: password })}` : 'not read';
};
const priority = attribute(0x0024, Buffer.from('6e7f1eff', 'hex'));
const seen = [request(), request(priority), request(priority, attribute(0x0025, Buffer.alloc(0)))].map(read);
process.stdout.write(seen.join(' / '));
JS
found=$(node read.cjs)
echo "webrtc-stun 3.0.0, a request / with PRIORITY / with PRIORITY and USE-CANDIDATE: $found"
[[ $found == "integrity true / integrity false / not read" ]]
