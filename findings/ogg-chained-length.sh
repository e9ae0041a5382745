#!/usr/bin/env bash
# mutagen 1.48.1, tinytag 2.3.2 (PyPI) and music-metadata 11.16.1 (npm) say that a recording of a radio station ends with its first
# song.
#
# Input: sound in Opus of 3 s and of 5 s, and both one after the other, as a recording of an Icecast station is, which begins a
# new logical stream with each song: a chained Ogg stream is its links in sequence (RFC 3533, 4; RFC 7845, 3).
# Behaviour: of the 8 s all three say 3. They look for the end of the first link and take it for that of the file, so that an
# archive shows three minutes for a programme of three hours.
# Needs: python3 with venv, node, npm, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check mutagen==1.48.1 tinytag==2.3.2
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund music-metadata@11.16.1 >/dev/null
for length in 3 5; do
    ffmpeg -nostdin -loglevel error -f lavfi -i "sine=$((length * 100))" -t "$length" -c:a libopus -f ogg "$length.ogg"
done
cat 3.ogg 5.ogg >both.ogg
cat >read.py <<'PY'
import mutagen
import tinytag

print(*(f"{mutagen.File(name).info.length:.0f} {tinytag.TinyTag.get(name).duration:.0f}" for name in ("5.ogg", "both.ogg")))
PY
cat >read.js <<'JS'
import { parseFile } from 'music-metadata';
const read = async (name) => Math.round((await parseFile(name, { duration: true })).format.duration);
console.log(`${await read('5.ogg')} ${await read('both.ogg')}`);
JS
found="$(python/bin/python read.py) / $(node read.js)"
echo "mutagen and tinytag, 5 s and 3 s + 5 s / music-metadata, the same: $found"
[[ $found == "5 5 3 3 / 5 3" ]]
