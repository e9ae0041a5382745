#!/usr/bin/env bash
# @montevideo-tech/cmcd-validator (npm) 1.3.1 says of a CMCD query without a string that it is not encoded.
#
# Input: the query of a segment's request with what a player reports in it, percent-encoded as a whole (CTA-5004, query argument):
# once with numbers alone, CMCD=bl%3D21300%2Cbr%3D3200%2Cd%3D4000, and once with the session's id, a string, in addition.
# Behaviour: the first is invalid, "Parameter is not encoded", and nothing is read of it; the second is valid. What was encoded is
# told from whether decoding changes anything, with a function that leaves equals signs and commas as they are: only a quotation
# mark counts. So the requests of a player that sends no session id are all reported as broken, though they are not.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . @montevideo-tech/cmcd-validator@1.3.1 >/dev/null
cat >read.cjs <<'JS'
const { CMCDQueryValidator } = require('@montevideo-tech/cmcd-validator');
console.info = () => {};
const read = (report) => {
  const { valid, errors, parsedData } = CMCDQueryValidator(`https://origin.example/1.m4s?CMCD=${encodeURIComponent(report)}`);
  return `${valid} ${errors.map((error) => error.description)} ${JSON.stringify(parsedData)}`;
};
for (const report of ['bl=21300,br=3200,d=4000', 'bl=21300,br=3200,d=4000,sid="6e2fb550"']) process.stdout.write(`${read(report)}\n`);
JS
found=$(node read.cjs | grep -E '^(true|false) ')
echo "@montevideo-tech/cmcd-validator 1.3.1, a report of numbers, and the same with a session id:"
echo "$found"
[[ $found == 'false Parameter is not encoded undefined'$'\n''true  {"bl":21300,"br":3200,"d":4000,"sid":"6e2fb550"}' ]]
