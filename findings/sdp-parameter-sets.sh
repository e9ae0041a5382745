#!/usr/bin/env bash
# sdp (npm) 3.2.2 cuts the parameter sets of an H.264 stream off at the first padding.
#
# Input: a=fmtp with sprop-parameter-sets=<SPS>,<PPS>, each in Base64 with its padding (RFC 6184, 8.1), as RTSP servers and encoders
# write it.
# Behaviour: parseFmtp() keeps what stands between the first and the second equals sign of a parameter. The padding of the SPS is an
# equals sign, so the SPS loses its padding and the PPS is gone; writeFmtp() of it writes that. If the SPS needs no padding, both
# are there, and only the end of the PPS is lost: whether a decoder can start depends on how many bytes the SPS has.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . sdp@3.2.2 >/dev/null
cat >rewrite.cjs <<'JS'
const sdp = require('sdp');
const rewrite = (sps) => {
  const sets = [sps, [0x68, 0xce, 0x3c, 0x80]].map((bytes) => Buffer.from(bytes).toString('base64')).join(',');
  const written = sdp.writeFmtp({
    payloadType: 96,
    parameters: sdp.parseFmtp(`a=fmtp:96 packetization-mode=1;sprop-parameter-sets=${sets}`),
  });
  return `${sets} -> ${written.trim().split('sprop-parameter-sets=')[1]}`;
};
const sps = [0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0x50, 0x05, 0xbb, 0x01];
console.log(rewrite(sps) + ' / ' + rewrite([...sps, 0x10, 0x80]));
JS
seen=$(node rewrite.cjs)
echo "sdp 3.2.2: $seen"
[[ $seen == 'Z0LAH9kAUAW7AQ==,aM48gA== -> Z0LAH9kAUAW7AQ / Z0LAH9kAUAW7ARCA,aM48gA== -> Z0LAH9kAUAW7ARCA,aM48gA' ]]
