#!/usr/bin/env bash
# proxy-protocol-js (npm) 4.0.6 hands extensions of a PROXY header out as the client's data.
#
# Input: a PROXY header of version 2 in front of the first bytes of RTMP, once as it is and once with an extension that names
# the server which the client asked for. The length in the header includes extensions, and a receiver skips those that it does
# not know (PROXY protocol, 2.2 and 2.2.2); cloud load balancers add some to every connection.
# Behaviour: the client's address is right in both cases. Without an extension the data are the five bytes of RTMP. With it the
# 19 bytes of the extension stand in front of them: the length is read, checked, and not used. A server behind a load balancer
# refuses each handshake, and one that is tested without extensions does not.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . proxy-protocol-js@4.0.6 >/dev/null
cat >read.cjs <<'JS'
const { V2ProxyProtocol } = require('proxy-protocol-js');
const header = (extensions, payload) => Buffer.concat([
  Buffer.from('0d0a0d0a000d0a515549540a2111', 'hex'), Buffer.from([0, 12 + extensions.length]),
  Buffer.from('c00002010a000001', 'hex'), Buffer.from([0xc0, 0x00, 0x07, 0x8f]), extensions, payload,
]);
// The first byte of RTMP, then its time (RTMP 1.0, 5.2.2 and 5.2.3).
const payload = Buffer.from('0300000000', 'hex');
// PP2_TYPE_AUTHORITY: the name that the client asked for.
const name = Buffer.from('live.example.com');
const authority = Buffer.concat([Buffer.from([0x02, 0, name.length]), name]);
const read = (extensions) => {
  const { proxyAddress, data } = V2ProxyProtocol.parse(new Uint8Array(header(extensions, payload)));
  return `${proxyAddress.sourceAddress.address.join('.')} ${Buffer.from(data).toString('hex')}`;
};
console.log(`${read(Buffer.alloc(0))} / ${read(authority)}`);
JS
read=$(node read.cjs)
echo "proxy-protocol-js 4.0.6, client and data without an extension / with the name of the server: $read"
[[ $read == "192.0.2.1 0300000000 / 192.0.2.1 0200106c6976652e6578616d706c652e636f6d0300000000" ]]
