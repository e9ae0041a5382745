#!/usr/bin/env bash
# ttconv (PyPI) 1.2.3 writes no subtitle at all if the body of a TTML document says when it begins, and not when it ends.
#
# Input: <body begin="20s"> with a subtitle from 1 s to 2 s in it, which is shown from 21 s to 22 s (TTML 1, 10.4): times are
# relative to the begin of the element around. The same with end="60s" at the body, and without both.
# Behaviour: with the end, and without begin and end, the subtitle is written. With the begin alone there is none, and the exit code
# is 0. The end of the body follows from what stands in it, but is taken without the begin: 2 s, at which a body that begins at
# 20 s is over before it begins.
# Needs: python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check ttconv==1.2.3
convert() {
    printf '<?xml version="1.0"?>\n<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="en"><body%s><div>%s</div></body></tt>' \
        "$1" '<p begin="1s" end="2s">words</p>' >a.ttml
    python/bin/tt convert -i a.ttml -o a.vtt >/dev/null 2>&1
    grep -e '-->' a.vtt || echo nothing
}
found="$(convert '') / $(convert ' begin="20s" end="60s"') / $(convert ' begin="20s"')"
echo "ttconv 1.2.3, a body without times / with begin and end / with begin: $found"
[[ $found == "00:00:01.000 --> 00:00:02.000 / 00:00:21.000 --> 00:00:22.000 / nothing" ]]
