#!/usr/bin/env bash
# pyrtmp (PyPI) 0.3.1 loses a stream when its clock passes four hours and forty minutes.
#
# Input: RTMP messages of 300 bytes in chunks of 128, just before and just after 0xFFFFFF ms. From then on the time stands in
# four more bytes, which the continuing chunks of type 3 have as well (RTMP 1.0, 5.3.1.3), as FFmpeg and librtmp write them.
# Behaviour: before that time both messages are read. After it the four bytes are read in the first chunk of a message only, and
# taken for media in the others, so that the next chunk begins in the wrong place: reading ends with KeyError. Messages that fit
# into one chunk are read, so a silent test stream may pass.
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


def frame(time):
    """A video message of 300 bytes in chunks of 128, as RTMP 1.0, 5.3.1 asks."""
    content = bytes([0x17, 1, 0, 0, 0]) + bytes(range(5, 256)) + bytes(44)
    extended = time.to_bytes(4, "big") if time >= 0xFFFFFF else b""
    first = bytes([0x06]) + min(time, 0xFFFFFF).to_bytes(3, "big") + len(content).to_bytes(3, "big") + b"\x09\x01\0\0\0" + extended
    return content, first + content[:128] + b"\xc6" + extended + content[128:256] + b"\xc6" + extended + content[256:]


async def read(time):
    reader = asyncio.StreamReader()
    content, written = frame(time)
    reader.feed_data(written + written)
    reader.feed_eof()
    messages = []
    try:
        async for message in SessionManager(reader, None).read_chunks_from_stream():
            messages.append((message.timestamp, bytes(message.payload) == content))
    except StreamClosedException:
        pass
    except Exception as error:
        messages.append(type(error).__name__)
    return messages


before, after = (asyncio.run(read(time)) for time in (16777214, 16777216))
print("pyrtmp 0.3.1 on two messages before 0xFFFFFF ms and two after it:", before, after)
assert before == [(16777214, True), (16777214, True)]
assert after == ["KeyError"]
PY
