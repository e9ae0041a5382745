#!/usr/bin/env bash
# @deepgram/captions 1.2.0 (npm) and deepgram-captions 2.0.0 (PyPI) begin at zero again after a day of a stream.
#
# Input: the transcript of a stream that has run for more than a day: a word from 86399 s to 86400.5 s, and one at 90000 s. The hours
# of a WebVTT timestamp are two or more digits (WebVTT, 4.1), so that 25:00:00.000 is a time like any other.
# Behaviour: the times are written as those of a date. The first subtitle ends at 00:00:00.500, before it begins, and the second
# one begins at 01:00:00.000. A channel that is captioned without end has subtitles that end before they begin once a day, and
# then those of another day.
# Needs: node, npm, python3 with venv. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . @deepgram/captions@1.2.0 >/dev/null
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check deepgram-captions==2.0.0
cat >write.cjs <<'JS'
const { webvtt } = require('@deepgram/captions');
const lines = [[{ word: 'late', start: 86399, end: 86400.5 }], [{ word: 'later', start: 90000, end: 90001 }]];
console.log(webvtt({ transcriptionData: {}, getLines: () => lines }).split('\n').filter((line) => line.includes('-->')).join(', '));
JS
cat >write.py <<'PY'
from deepgram_captions import webvtt


class Transcript:
    def get_lines(self, length):
        return [[{"word": "late", "start": 86399, "end": 86400.5}], [{"word": "later", "start": 90000, "end": 90001}]]


print(", ".join(line for line in webvtt(Transcript()).split("\n") if "-->" in line))
PY
node=$(node write.cjs)
python=$(python/bin/python write.py)
echo "@deepgram/captions 1.2.0: $node; deepgram-captions 2.0.0: $python"
[[ $node == "23:59:59.000 --> 00:00:00.500, 01:00:00.000 --> 01:00:01.000" && $node == "$python" ]]
