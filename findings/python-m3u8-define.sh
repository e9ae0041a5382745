#!/usr/bin/env bash
# m3u8 (PyPI) 6.0.0 writes a playlist that no player can resolve when the original uses variables.
#
# Input: a media playlist of version 8 with EXT-X-DEFINE and a segment URI that uses the variable (RFC 8216bis, 4.3).
# Behaviour: load() neither replaces the variable nor keeps its definition. dumps() writes the URI with {$cdn} still in it and
# no EXT-X-DEFINE; absolute_uri joins the base URI with the variable's name as if it were a folder. An undefined variable is a
# parse error for a player, so copying a playlist through this library makes a valid playlist invalid, without an error here.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check m3u8==6.0.0
python/bin/python - <<'PY'
import m3u8

text = "\n".join([
    "#EXTM3U", "#EXT-X-VERSION:8", "#EXT-X-TARGETDURATION:4",
    '#EXT-X-DEFINE:NAME="cdn",VALUE="https://cdn.example"', "#EXTINF:4,", "{$cdn}/1.ts", "",
])
playlist = m3u8.loads(text, uri="https://origin.example/live/a.m3u8")
written = playlist.dumps()
print("m3u8 6.0.0 wrote", repr(written), "and resolved", playlist.segments[0].absolute_uri)
assert "EXT-X-DEFINE" not in written and "{$cdn}/1.ts" in written
assert playlist.segments[0].absolute_uri == "https://origin.example/live/{$cdn}/1.ts"
PY
