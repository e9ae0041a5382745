#!/usr/bin/env bash
# @svta/cml-cmcd 2.7.0 (npm) calls a report of a player invalid that @montevideo-tech/cmcd-validator 1.3.1 (npm) calls valid, and
# the other way round.
#
# Input: reports of version 1 of CMCD in headers, with the playback rate in CMCD-Session, where the specification has it (CTA-5004,
# list of keys and example 9), and in CMCD-Status, where the second version moved it. A report that names no version is of
# the first.
# Behaviour: to @svta/cml-cmcd the first is an error, "should be in CMCD-Status", and the second is right, even if it is asked for
# version 1; toCmcdHeaders() for version 1 writes the second. The other validator has it the other way. A server that reads
# headers by version 1 never finds the rate of players that stand on the library.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
mkdir library validator
npm install --silent --no-audit --no-fund --prefix library @svta/cml-cmcd@2.7.0 >/dev/null
npm install --silent --no-audit --no-fund --prefix validator @montevideo-tech/cmcd-validator@1.3.1 >/dev/null
cat >library/read.mjs <<'JS'
import { toCmcdHeaders, validateCmcdHeaders } from '@svta/cml-cmcd';
const session = { 'CMCD-Session': 'pr=1.08,sid="6e2fb550"' };
const status = { 'CMCD-Session': 'sid="6e2fb550"', 'CMCD-Status': 'pr=1.08' };
const written = toCmcdHeaders({ pr: 1.08, sid: '6e2fb550' }, { version: 1 });
console.log([session, status].map((headers) => validateCmcdHeaders(headers, { version: 1 }).valid).join(' '), written['CMCD-Status']);
JS
cat >validator/read.cjs <<'JS'
const { CMCDHeaderValidator } = require('@montevideo-tech/cmcd-validator');
console.info = () => {};
const session = 'CMCD-Session: pr=1.08,sid="6e2fb550"';
const status = 'CMCD-Session: sid="6e2fb550"\nCMCD-Status: pr=1.08';
process.stdout.write(`${[session, status].map((headers) => CMCDHeaderValidator(headers).valid).join(' ')}\n`);
JS
library=$(node library/read.mjs)
validator=$(node validator/read.cjs | grep -E '^(true|false)')
echo "the rate in CMCD-Session and in CMCD-Status, @svta/cml-cmcd (and what it writes to CMCD-Status): $library / cmcd-validator: $validator"
[[ $library == "false true pr=1.08" && $validator == "true false" ]]
