#!/usr/bin/env bash
# pymp4 (PyPI) 1.4.0 cannot read a box whose size stands after its type.
#
# Input: an mdat box with size 1 and a largesize of 64 bits, as recorders write it that do not know in advance how long the
# recording will be, and one with size 0, which ends with the file (ISO/IEC 14496-12, 4.2).
# Behaviour: 1 and 0 are taken for the length in bytes, so that the box would end before it begins, and the parser fails with an
# error of its stream about a seek. The same content with its size in the usual place is read.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check pymp4==1.4.0
python/bin/python - <<'PY'
import struct

from pymp4.parser import Box


def read(header):
    try:
        return bytes(Box.parse(header + b"abcd").data).decode()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


small = read(struct.pack(">I4s", 12, b"mdat"))
large = read(struct.pack(">I4sQ", 1, b"mdat", 20))
last = read(struct.pack(">I4s", 0, b"mdat"))
print("pymp4 1.4.0, size 12:", small, "/ size 1 and 64 bits:", large, "/ size 0:", last)
assert small == "abcd"
assert large == "OSError: trying to seek out of bounds [4-1)" and last == "OSError: trying to seek out of bounds [4-0)"
PY
