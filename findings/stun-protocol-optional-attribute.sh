#!/usr/bin/env bash
# stun-protocol (PyPI) 0.0.8 refuses a check of ICE for an attribute that is there to be ignored.
#
# Input: a STUN binding request with PRIORITY, and with an attribute of the type 0xC057, which browsers send to tell what a network
# costs. Types from 0x8000 on may be ignored by who does not know them, and an agent has to (RFC 8489, 6.3 and 14).
# Behaviour: Message.create() fails with ValueError, so that nothing of the request is read. Without the attribute it is read.
# Whoever reads checks of browsers has to know of the option unpack_undefined_attributes, with which the message is read; it is off
# if not asked for.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check stun-protocol==0.0.8
python/bin/python - <<'PY'
import struct

from stun_protocol.message import Message


def read(kind, option):
    attributes = struct.pack("!HHI", 0x0024, 4, 1 << 24) + (struct.pack("!HHI", kind, 4, 0x00010032) if kind else b"")
    message = struct.pack("!HHI12s", 1, len(attributes), 0x2112A442, b"0123456789ab") + attributes
    try:
        return f"{len(Message.create(message, option).attributes)} attribute(s)"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


seen = [read(0, False), read(0xC057, False), read(0xC057, True)]
print("stun-protocol 0.0.8 without it / with it / with it and the option:", " / ".join(seen))
assert seen == ["1 attribute(s)", "ValueError: Unknown STUN attribute type 49239", "2 attribute(s)"]
PY
