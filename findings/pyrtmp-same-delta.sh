#!/usr/bin/env bash
# pyrtmp (PyPI) 0.3.1 gives RTMP messages that follow each other at an even distance one and the same time.
#
# Input: four audio messages, 20 ms apart. The first has a full header, the second a header of type 2 with the difference of 20
# ms; the last two have the header once more, or a header of type 3, by which everything is as before, the difference too (RTMP
# 1.0, 5.3.1.2.4).
# Behaviour: with the difference written each time the times are 1000, 1020, 1040 and 1060. With type 3 they are 1000, 1020,
# 1020 and 1020: the time of the message before is repeated instead of its difference. A sender that saves these three bytes is
# recorded as if its clock stood still.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check pyrtmp==0.3.1
python/bin/python - <<'PY'
import asyncio

from pyrtmp import StreamClosedException
from pyrtmp.session_manager import SessionManager


def chunk(kind, header, content):
    return bytes([kind << 6 | 4]) + header + content


async def times(chunks):
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(chunks))
    reader.feed_eof()
    found = []
    try:
        async for message in SessionManager(reader, None).read_chunks_from_stream():
            found.append(message.timestamp)
    except StreamClosedException:
        pass
    return found


SOUND = b"\xaf\x01" + bytes(8)
full = chunk(0, (1000).to_bytes(3, "big") + len(SOUND).to_bytes(3, "big") + b"\x08\x01\0\0\0", SOUND)
delta = chunk(2, (20).to_bytes(3, "big"), SOUND)
same = chunk(3, b"", SOUND)
written, implied = asyncio.run(times([full, delta, delta, delta])), asyncio.run(times([full, delta, same, same]))
print("pyrtmp 0.3.1, times with the difference written each time:", written, "and with headers of type 3:", implied)
assert written == [1000, 1020, 1040, 1060]
assert implied == [1000, 1020, 1020, 1020]
PY
