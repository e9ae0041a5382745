#!/usr/bin/env bash
# aiortp (PyPI) 0.8.0 writes a header extension that it cannot read.
#
# Input: the transmission time offset of an RTP packet, a signed number of 24 bits (RFC 5450, 3): three bytes after the element's
# first. Retransmissions and paced video carry it. Here it is 1000 ticks, and the library both writes and reads it.
# Behaviour: HeaderExtensionsMap.set() writes two bytes of the three, so that 1000 becomes 3. Its own get() fails on that element
# with an error of struct; a reader that goes by the length alone has another value. An element that is written by hand is read
# right.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check aiortp==0.8.0
python/bin/python - <<'PY'
from aiortp.packet import HeaderExtensions, HeaderExtensionsMap

extensions = HeaderExtensionsMap()
extensions.configure([(3, "urn:ietf:params:rtp-hdrext:toffset")])
profile, written = extensions.set(HeaderExtensions(transmission_offset=1000))
try:
    back = str(extensions.get(profile, written).transmission_offset)
except Exception as error:
    back = f"{type(error).__name__}: {error}"
right = extensions.get(0xBEDE, bytes([0x32, 0x00, 0x03, 0xE8])).transmission_offset
print("aiortp 0.8.0 wrote", written.hex(), "for 1000 and read it as", back, "/ 320003e8 is read as", right)
assert (profile, written.hex(), right) == (0xBEDE, "31000300", 1000)
assert back == "error: unpack requires a buffer of 4 bytes"
PY
