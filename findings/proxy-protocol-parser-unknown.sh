#!/usr/bin/env bash
# @balena/proxy-protocol-parser (npm) 1.0.2 makes an IPv6 address out of the end of a line, if a load balancer knows no address.
#
# Input: "PROXY UNKNOWN" and the end of the line, with which a load balancer begins a connection of its own, as for a check of
# health (PROXY protocol, 2.1). The receiver is to take the connection, and to use the real addresses of it.
# Behaviour: without validation the client is an IPv6 one whose address is a carriage return and a line feed, and its port is not a
# number. With validation the header is refused for its family, so that the check of health fails and the load balancer takes the
# server out. The check of the second version of the protocol is known to the library, and has no address.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . @balena/proxy-protocol-parser@1.0.2 >/dev/null
cat >read.cjs <<'JS'
const { decode } = require('@balena/proxy-protocol-parser');
const read = (header, validate) => {
  try {
    const { remoteFamily, remoteAddress, remotePort } = decode(header, validate);
    return JSON.stringify([remoteFamily, remoteAddress, String(remotePort)]);
  } catch (error) {
    return error.message;
  }
};
const first = Buffer.from('PROXY UNKNOWN\r\n');
const second = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex');
for (const header of [first, second]) console.log(`${read(header, false)} / ${read(header, true)}`);
JS
found=$(node read.cjs)
echo "@balena/proxy-protocol-parser 1.0.2, a connection without addresses in version 1 and in version 2, read and validated:"
echo "$found"
[[ $found == '["IPv6","\r\n","NaN"] / proxy protocol: unsupported family received'$'\n''[null,null,"undefined"] / [null,null,"undefined"]' ]]
