#!/usr/bin/env bash
# @svta/common-media-library (npm) 0.18.1 cannot read the CMCD header that it writes, if a title has a percent sign.
#
# Input: CMCD with the content id "show-100%". It is a string of structured fields (CTA-5004, list of keys; RFC 8941, 3.3.3), in
# which a percent sign stands for itself; only the value of nor is percent-encoded, and the whole only in a query.
# Behaviour: encodeCmcd() writes cid="show-100%", and decodeCmcd() of it fails with URIError, so that nothing of the request's
# report is read. "rate 50%25" comes back as "rate 50%" without an error. @svta/cml-cmcd 2.3.2, which the same project made of that
# part of it, reads both as they are: what the origin's log has for a title depends on which of the two it uses.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund @svta/common-media-library@0.18.1 @svta/cml-cmcd@2.3.2 >/dev/null
cat >read.js <<'JS'
import * as library from '@svta/common-media-library';
import * as part from '@svta/cml-cmcd';
const back = ({ encodeCmcd, decodeCmcd }) => ['show-100%', 'rate 50%25'].map((cid) => {
  try {
    return decodeCmcd(encodeCmcd({ cid })).cid;
  } catch (error) {
    return error.name;
  }
}).join(' and ');
console.log(library.encodeCmcd({ cid: 'show-100%' }) + ' / ' + back(library) + ' / ' + back(part));
JS
seen=$(node read.js)
echo "written, read by common-media-library 0.18.1, by cml-cmcd 2.3.2: $seen"
[[ $seen == 'cid="show-100%" / URIError and rate 50% / show-100% and rate 50%25' ]]
