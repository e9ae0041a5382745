#!/usr/bin/env bash
# klvdata (PyPI) 0.0.3 reads tags of two bytes as one, and loses what stands after them.
#
# Input: two metadata packets of a drone (MISB ST 0601): time stamp, platform, version and checksum, and the same with item 135, the
# method of communication, in front of the version. Tags are BER-OID numbers (SMPTE ST 336), so 135 is 0x81 0x07.
# Behaviour: the first packet is read. Of the second, 0x81 is taken for the tag and 0x07 for the length; the version and the
# checksum are gone, and there is an item 0x6e made of the end of the text and all after it. So of a stream that uses any item
# from 128 on, which newer editions of the standard added, no packet can be checked.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check klvdata==0.0.3
python/bin/python - <<'PY'
import klvdata


def item(tag, value):
    return (bytes([tag]) if tag < 128 else bytes([0x80 | tag >> 7, tag & 0x7F])) + bytes([len(value)]) + value


def packet(*items):
    body = b"".join(items) + b"\x01\x02"
    body = bytes.fromhex("060e2b34020b01010e01030101000000") + bytes([len(body) + 2]) + body
    return body + (sum(byte << (8 if at % 2 == 0 else 0) for at, byte in enumerate(body)) & 0xFFFF).to_bytes(2, "big")


def read(*items):
    found = next(klvdata.StreamParser(packet(*items)))
    return [key.hex() for key in found.items]


time = item(2, (1_700_000_000_000_000).to_bytes(8, "big"))
platform, version, method = item(10, b"Kite"), item(65, b"\x13"), item(135, b"Frequency Modulation")
short, long = read(time, platform, version), read(time, platform, method, version)
print("klvdata 0.0.3, items without / with one of two bytes:", short, long)
assert short == ["02", "0a", "41", "01"]
assert long == ["02", "0a", "81", "6e"]
PY
