#!/usr/bin/env bash
# Two libraries of AMF0 number references differently: @astronautlabs/amf (npm) 0.0.6 and Py3AMF (PyPI) 0.9.1.
#
# Input: an array of the same object twice, written by each. The second time an object is sent as a reference: its number in the
# table of the objects that were sent before (AMF0, 2.9), where an array counts as an object too.
# Behaviour: Py3AMF counts an object when it begins, so the array is 0 and the reference says 1. @astronautlabs/amf counts it when
# it ends, and writes 0. Each reads its own. Of the other's message Py3AMF makes an array that contains itself, and
# @astronautlabs/amf one without its second object; neither says anything. A server that is to understand the parameters of any RTMP
# command must know whose they are, or resolve no references.
# Needs: node, npm, python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . @astronautlabs/amf@0.0.6 reflect-metadata@0.2.2 >/dev/null
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check Py3AMF==0.9.1
cat >amf.cjs <<'JS'
require('reflect-metadata');
const { Value } = require('@astronautlabs/amf').AMF0;
const object = { a: 1 };
const read = (hex) => JSON.stringify(Value.deserialize(Buffer.from(hex, 'hex')).value);
const own = Buffer.from(Value.any([object, object]).serialize()).toString('hex');
console.log(process.argv[2] ? read(process.argv[2]) : own + ' ' + read(own));
JS
cat >amf.py <<'PY'
import sys

import pyamf


def read(text):
    value = next(pyamf.decode(bytes.fromhex(text), encoding=pyamf.AMF0))
    return "[{'a': 1},itself]" if value[1] is value else str(value).replace(" ", "")


one = {"a": 1}
own = pyamf.encode([one, one], encoding=pyamf.AMF0).getvalue().hex()
print(read(sys.argv[1]) if len(sys.argv) > 1 else f"{own} {read(own)}")
PY
read -r javascript javascript_own <<<"$(node amf.cjs)"
read -r python python_own <<<"$(python/bin/python amf.py)"
javascript_other=$(node amf.cjs "$python")
python_other=$(python/bin/python amf.py "$javascript")
echo "@astronautlabs/amf 0.0.6 wrote …${javascript: -6}, read by itself $javascript_own, by Py3AMF $python_other"
echo "Py3AMF 0.9.1 wrote …${python: -6}, read by itself $python_own, by @astronautlabs/amf $javascript_other"
[[ $javascript == *070000 && $javascript_own == '[{"a":1},{"a":1}]' && $python_other == "[{'a': 1},itself]" ]]
[[ $python == *070001 && $python_own == "[{'a':1},{'a':1}]" && $javascript_other == '[{"a":1},null]' ]]
