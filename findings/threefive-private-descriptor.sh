#!/usr/bin/env bash
# threefive (PyPI) 3.1.5 reads nothing of a cue with a private descriptor that is not text.
#
# Input: a time_signal with a segmentation descriptor, and in front of it a descriptor of somebody else: an identifier other than
# CUEI and three bytes of his own (SCTE 35 2023, 10.2). Receivers are to skip descriptors whose identifier they do not know (10.1).
# Behaviour: the private bytes are decoded as text. Bytes that are text are kept, and the segmentation is read. Others, 0xff here,
# end the reading of the whole cue with UnicodeDecodeError: an ad break is lost because of a descriptor that concerns nobody here.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check threefive==3.1.5
python/bin/python - <<'PY'
from threefive import Cue


def crc(data):
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte << 24
        for _ in range(8):
            rest = (rest << 1 ^ (0x04C11DB7 if rest >> 31 else 0)) & 0xFFFFFFFF
    return rest.to_bytes(4, "big")


def read(private):
    time = b"\xfe" + (3600 * 90000).to_bytes(4, "big")
    own = b"\x85" + bytes([4 + len(private)]) + b"ABCD" + private
    segmentation = b"\x02\x0fCUEI" + bytes([0, 0, 0, 7, 0x7F, 0xBF, 0, 0, 0x30, 1, 1])
    body = bytes(7) + b"\xff\xf0" + bytes([len(time), 6]) + time + (len(own + segmentation)).to_bytes(2, "big") + own + segmentation
    section = b"\xfc\x30" + bytes([len(body) + 4]) + body
    try:
        cue = Cue(section + crc(section))
        cue.decode()
        return cue.command.pts_time, cue.descriptors[-1].segmentation_message
    except Exception as error:
        return type(error).__name__


text, other = read(b"abc"), read(b"\xff\x80\x03")
print("threefive 3.1.5 with private text:", text, "/ with other bytes:", other)
assert text == (3600.0, "Provider Advertisement Start") and other == "UnicodeDecodeError"
PY
