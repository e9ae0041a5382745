#!/usr/bin/env bash
# pycaption (PyPI) 2.3.14 shows the subtitles of a TTML document hours too early if the body says when it begins.
#
# Input: a TTML document of a programme whose clock is at ten o'clock: <body begin="10:00:00">, with a subtitle from 1 s to 2 s in
# it. Times of an element are relative to the begin of the one that it stands in (TTML 1, 10.2.1 and 10.4). The same with
# begin="10:00:01" at the subtitle itself.
# Behaviour: the second is read right. In the first, only the times of the subtitle itself are looked at: it begins at 1 s.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check pycaption==2.3.14
python/bin/python -W ignore - <<'PY'
from pycaption import DFXPReader


def read(body, begin, end):
    document = (
        f'<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="en"><body{body}><div>'
        f'<p begin="{begin}" end="{end}">words</p></div></body></tt>'
    )
    caption = DFXPReader().read(document).get_captions("en")[0]
    return caption.format_start(), caption.format_end()


inside, alone = read(' begin="10:00:00"', "00:00:01.000", "00:00:02.000"), read("", "10:00:01.000", "10:00:02.000")
print("pycaption 2.3.14, a subtitle in a body that begins at 10:00:00:", inside, "/ with the whole time:", alone)
assert inside == ("00:00:01.000", "00:00:02.000") and alone == ("10:00:01.000", "10:00:02.000")
PY
