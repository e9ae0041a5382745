#!/usr/bin/env bash
# pycaption (PyPI) 2.3.14 keeps the last division of a TTML document and drops the others.
#
# Input: a TTML document with two div elements of one subtitle each, as recorders write a division for each scene or segment. A body
# has any number of them (TTML 1, 7.1.3).
# Behaviour: one subtitle is read, the second. Divisions are kept by their language, and both have that of the document, so each
# replaces the one before. No error is raised: what was converted to WebVTT has the subtitles of the end of the programme alone. In
# one div both are read.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check pycaption==2.3.14
python/bin/python -W ignore - <<'PY'
from pycaption import DFXPReader

first = '<p begin="00:00:01.000" end="00:00:02.000">first</p>'
second = '<p begin="00:00:03.000" end="00:00:04.000">second</p>'


def read(body):
    document = f'<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="en"><body>{body}</body></tt>'
    return [caption.get_text() for caption in DFXPReader().read(document).get_captions("en")]


one, two = read(f"<div>{first}{second}</div>"), read(f"<div>{first}</div><div>{second}</div>")
print("pycaption 2.3.14, subtitles of one division:", one, "/ of two:", two)
assert one == ["first", "second"] and two == ["second"]
PY
