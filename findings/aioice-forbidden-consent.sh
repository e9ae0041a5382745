#!/usr/bin/env bash
# aioice (PyPI, the ICE of aiortc) 0.13.0 goes on sending to a peer that has forbidden it.
#
# Input: two connections of aioice that have found each other. From then on one answers each check of consent with the error 403
# (Forbidden), with integrity, as a receiver does that wants no more. RFC 7675, 5.2: such an answer revokes consent at once.
# Behaviour: the error counts as one check without an answer. Data goes on, and five more checks are asked and forbidden before the
# connection closes: with the interval of five seconds, which is a tenth of a second here, that is half a minute of media. A
# server that has shut a session and says so must bear it that long.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check aioice==0.13.0
python/bin/python - <<'PY'
import asyncio

import aioice
import aioice.ice

interval = aioice.ice.CONSENT_INTERVAL
aioice.ice.CONSENT_INTERVAL = 0.1


async def main():
    sender, receiver = (
        aioice.Connection(ice_controlling=leads, use_ipv4=True, use_ipv6=False) for leads in (True, False)
    )
    for one in (sender, receiver):
        await one.gather_candidates()
    for one, other in ((sender, receiver), (receiver, sender)):
        for candidate in other.local_candidates:
            await one.add_remote_candidate(candidate)
        await one.add_remote_candidate(None)
        one.remote_username, one.remote_password = other.local_username, other.local_password
    await asyncio.gather(sender.connect(), receiver.connect())
    forbidden, data = [], []

    def forbid(message, address, protocol):
        forbidden.append(len(data))
        receiver.respond_error(message, address, protocol, (403, "Forbidden"))

    receiver.request_received = forbid
    receiver.data_received = lambda content, component: data.append(content)
    try:
        for _ in range(500):
            await sender.send(b"media")
            await asyncio.sleep(0.01)
        closed = False
    except ConnectionError:
        closed = True
    await receiver.close()
    return closed, len(forbidden), len(data) - forbidden[0]


closed, checks, packets = asyncio.run(main())
print("aioice 0.13.0 asked", checks, "times and sent", packets, "packets after the first 403; closed then:", closed)
assert closed and checks == 6 and interval == 5 and packets > 10
PY
