#!/usr/bin/env bash
# @montevideo-tech/cmcd-validator (npm) 1.3.1 refuses a report whose content id has a comma or an equals sign in it.
#
# Input: the CMCD-Session header of a player (CTA-5004, request header) with the content ids "film-7", "film,7" and "ZmlsbQ==". A
# string of structured fields has any printable character between its quotation marks (RFC 8941, 3.3.3); an id in Base64 ends in
# equals signs.
# Behaviour: the first is valid. The second is cut at the comma and has two errors of which the second concerns a key 7". The third
# is "not separated by =". Nothing of the report is read, and an operator who tests a player with such a title is told
# that the player is wrong.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . @montevideo-tech/cmcd-validator@1.3.1 >/dev/null
cat >read.cjs <<'JS'
const { CMCDHeaderValidator } = require('@montevideo-tech/cmcd-validator');
console.info = () => {};
const read = (content) => {
  const { valid, errors, parsedData } = CMCDHeaderValidator(`CMCD-Session: cid="${content}",sid="6e2fb550"`);
  return `${valid} ${errors.map((error) => error.description)} ${JSON.stringify(parsedData)}`;
};
for (const content of ['film-7', 'film,7', 'ZmlsbQ==']) process.stdout.write(`${read(content)}\n`);
JS
found=$(node read.cjs | grep -E '^(true|false) ')
echo "@montevideo-tech/cmcd-validator 1.3.1, three content ids:"
echo "$found"
[[ $found == 'true  {"cid":"film-7","sid":"6e2fb550"}
false Incorrect format for key: cid,key-value pair not separated by =. undefined
false key-value pair not separated by =. undefined' ]]
