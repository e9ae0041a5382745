#!/usr/bin/env bash
# aiortsp (PyPI) 1.4.0 answers a challenge with SHA-256, but does not say so.
#
# Input: a server's challenge WWW-Authenticate: Digest … algorithm=SHA-256, qop="auth", as RFC 7616 brought it to HTTP, whose
# authentication RTSP uses (RFC 7826, 19.1).
# Behaviour: the response is computed with SHA-256, and without qop, cnonce and nc. The header names no algorithm, although it has
# to name that of the challenge (RFC 7616, 3.4), and none means MD5 (3.3). A server that reads the header by its rules computes with
# MD5 and refuses the right password. Only one that remembers its challenge, and takes responses as old as RFC 2069, lets the client
# in.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check aiortsp==1.4.0
python/bin/python - <<'PY'
import hashlib
import re

from aiortsp.rtsp.auth import DigestAuth


def sha256(*parts):
    return hashlib.sha256(":".join(parts).encode()).hexdigest()


address = "rtsp://origin.example/live"
client = DigestAuth("viewer", "example")
client.handle_401({"www-authenticate": 'Digest realm="live", nonce="0123456789", algorithm=SHA-256, qop="auth"'})
headers = {}
client.make_auth("DESCRIBE", address, headers)
fields = dict(re.findall(r'(\w+)="([^"]*)"', headers["Authorization"]))
old = sha256(sha256("viewer", "live", "example"), "0123456789", sha256("DESCRIBE", address))
print("aiortsp 1.4.0 sent", *sorted(fields), "and computed by RFC 2069 with SHA-256:", fields["response"] == old)
assert fields["response"] == old
assert sorted(fields) == ["nonce", "realm", "response", "uri", "username"]
PY
