#!/usr/bin/env bash
# yt-dlp (PyPI) 2026.10.26 damages every encrypted segment of a playlist that begins with an initialization section.
#
# Input: a media playlist of version 6 with EXT-X-MAP, then EXT-X-KEY:METHOD=AES-128 without an IV, then three segments of
# fragmented MP4. The map stands before the key, so it is clear (RFC 8216, 4.3.2.5); without an IV it is the number of the
# segment (4.3.2.4, 5.2), and only segments have numbers.
# Behaviour: the map is counted as a segment, so that each segment is decrypted with the number of the next one. The exit code
# is 0. What differs is the end of the first block, which in fragmented MP4 is the name of the first box in moof: mfhd becomes
# mfhe or mfhg, and players find nothing to play. The same playlist without the map is decrypted right.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check yt-dlp==2026.10.26 pycryptodomex==3.23.0
python/bin/python - <<'PY'
import functools
import http.server
import threading

import yt_dlp
from Cryptodome.Cipher import AES
from Cryptodome.Util.Padding import pad

KEY = bytes(range(16))
HEAD = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n"
KEY_LINE = '#EXT-X-KEY:METHOD=AES-128,URI="key"\n'
LIST = "".join(f"#EXTINF:4,\n{number}.m4s\n" for number in range(3)) + "#EXT-X-ENDLIST\n"
# What a fragment begins with: the first sixteen bytes of moof, then anything.
fragment = b"\0\0\0\x60moof\0\0\0\x10mfhd" + bytes(1000)
for number in range(3):
    cipher = AES.new(KEY, AES.MODE_CBC, number.to_bytes(16, "big"))
    open(f"{number}.m4s", "wb").write(cipher.encrypt(pad(fragment, 16)))
open("init.mp4", "wb").write(b"\0\0\0\x10ftypiso60000")
open("key", "wb").write(KEY)
open("plain.m3u8", "w").write(HEAD + KEY_LINE + LIST)
open("map.m3u8", "w").write(HEAD + '#EXT-X-MAP:URI="init.mp4"\n' + KEY_LINE + LIST)

handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


def downloaded(name):
    options = {"outtmpl": name + ".bin", "quiet": True, "no_warnings": True, "noprogress": True, "fixup": "never"}
    with yt_dlp.YoutubeDL(options) as downloader:
        code = downloader.download([f"http://127.0.0.1:{server.server_address[1]}/{name}.m3u8"])
    content = open(name + ".bin", "rb").read().removeprefix(open("init.mp4", "rb").read())
    return code, [content[place + 12 : place + 16] for place in range(0, len(content), len(fragment))]


plain, mapped = downloaded("plain"), downloaded("map")
print("yt-dlp 2026.10.26, exit code and box in each segment, without a map:", *plain, "and with one:", *mapped)
assert plain == (0, [b"mfhd"] * 3)
assert mapped == (0, [b"mfhe", b"mfhg", b"mfhe"])
PY
