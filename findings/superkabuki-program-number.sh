#!/usr/bin/env bash
# superkabuki (PyPI) 0.0.63 writes the map of program 1, whatever the number of the program is.
#
# Input: a transport stream whose one program has the number 5, with a map of version 3: association and map tables with right
# checksums (ISO/IEC 13818-1, 2.4.4.3 and 2.4.4.8: the number in both is what joins them, and a changed map has the next version).
# Behaviour: to announce the ad breaks that it adds, superkabuki writes the map anew, for program 1 and with version 0. The association
# table stays as it is and says 5. A receiver that looks for the map of program 5 finds none, so the stream has no picture there.
# Streams of FFmpeg, where the number is 1 unless said otherwise, show nothing of it.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check superkabuki==0.0.63 threefive==2.4.71 iframes==0.0.7 new-reader==0.1.13
cat >tables.py <<'PY'
import sys


def checksum(data):
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte << 24
        for _ in range(8):
            rest = (rest << 1 ^ (0x04C11DB7 if rest >> 31 else 0)) & 0xFFFFFFFF
    return rest.to_bytes(4, "big")


def packet(pid, section, count):
    section = bytes.fromhex(section)
    head = b"\x47" + (0x4000 | pid).to_bytes(2, "big") + bytes([0x10 | count, 0])
    return (head + section + checksum(section)).ljust(188, b"\xff")


if sys.argv[1] == "write":
    with open("in.ts", "wb") as stream:
        for count in range(4):
            stream.write(packet(0, "00b00d0001c10000" + "0005e100", count))
            stream.write(packet(0x100, "02b0170005c70000" + "e101f000" + "1be101f000" + "0fe102f000", count))
else:
    with open("out.ts", "rb") as stream:
        data = stream.read()
    seen = {}
    for at in range(0, len(data), 188):
        section = data[at + 5 : at + 188]
        size = 3 + ((section[1] & 0x0F) << 8 | section[2])
        assert checksum(section[: size - 4]) == section[size - 4 : size]
        number = section[8:10] if section[0] == 0 else section[3:5]
        seen[section[0]] = int.from_bytes(number, "big"), section[5] >> 1 & 0x1F
    print(*seen[0], *seen[2])
PY
python/bin/python tables.py write
touch sidecar.txt
python/bin/superkabuki -i in.ts -o out.ts 2>/dev/null
seen=$(python/bin/python tables.py read)
echo "superkabuki 0.0.63, program and version in the association table and in the map: $seen"
[[ $seen == "5 0 1 0" ]]
