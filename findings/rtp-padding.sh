#!/usr/bin/env bash
# rtp (PyPI) 0.0.4 hands the padding of a packet out as media.
#
# Input: an RTP packet with the padding bit: four bytes of payload, and four of padding, of which the last says that there are four
# (RFC 3550, 5.1: the padding is not part of the payload). Encryption and probing for bandwidth make such packets.
# Behaviour: fromBytearray() reads the bit, and payload has eight bytes. What takes the payload to a decoder gets the padding with
# it. Without the bit the payload is right.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check rtp==0.0.4
python/bin/python - <<'PY'
from rtp import RTP


def read(first, end):
    packet = RTP().fromBytearray(bytearray([first, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]) + b"abcd" + bytearray(end))
    return packet.padding, bytes(packet.payload)


plain, padded = read(0x80, []), read(0xA0, [0, 0, 0, 4])
print("rtp 0.0.4, without padding:", plain, "with:", padded)
assert plain == (False, b"abcd") and padded == (True, b"abcd\x00\x00\x00\x04")
PY
