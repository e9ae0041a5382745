#!/usr/bin/env bash
# codec-parser (npm) 2.5.0 counts a quarter of the sound if an ADTS frame has four blocks.
#
# Input: forty blocks of AAC from FFmpeg, once with an ADTS header in front of each, once with one in front of every four: a frame
# has one to four blocks of 1024 samples, and says how many (ISO/IEC 14496-3, 1.A.2.2 and 1.A.3.2).
# Behaviour: the number is read, and is 3 for four blocks, but a frame counts as 1024 samples whatever it is: 40960 samples in the
# first case, 10240 in the second. The players of internet radio that stand on the library take their clock from this. mutagen
# 1.48.1 of PyPI says 0.93 s of both.
# Needs: node, npm, python3 with venv, ffmpeg. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund codec-parser@2.5.0 >/dev/null
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check mutagen==1.48.1
ffmpeg -nostdin -loglevel error -f lavfi -i sine -t 2 -c:a aac -f adts a.aac
cat >read.js <<'JS'
import { readFileSync, writeFileSync } from 'fs';
import CodecParser from 'codec-parser';
const sound = readFileSync('a.aac');
const blocks = [];
for (let start = 0; start < sound.length && blocks.length < 40;) {
  const length = ((sound[start + 3] & 3) << 11) | (sound[start + 4] << 3) | (sound[start + 5] >> 5);
  blocks.push(sound.subarray(start + 7, start + length));
  start += length;
}
const frame = (parts) => {
  const header = Buffer.from(sound.subarray(0, 7));
  const length = 7 + parts.reduce((sum, part) => sum + part.length, 0);
  header[3] = (header[3] & ~3) | (length >> 11);
  header[4] = (length >> 3) & 255;
  header[5] = ((length & 7) << 5) | 0x1f;
  header[6] = 0xfc | (parts.length - 1);
  return Buffer.concat([header, ...parts]);
};
const read = (count) => {
  const frames = Array.from({ length: 40 / count }, (_, index) => frame(blocks.slice(count * index, count * (index + 1))));
  writeFileSync(`${count}.aac`, Buffer.concat(frames));
  const found = [...new CodecParser('audio/aac').parseAll(Buffer.concat(frames))];
  return found.reduce((sum, { samples }) => sum + samples, 0);
};
console.log(`${read(1)} ${read(4)}`);
JS
found=$(node read.js)
lengths=$(python/bin/python -c 'import mutagen; print(*(f"{mutagen.File(name).info.length:.2f}" for name in ("1.aac", "4.aac")))')
echo "codec-parser 2.5.0, samples of forty blocks, with one and with four in a frame: $found; mutagen, seconds: $lengths"
[[ $found == "40960 10240" && $lengths == "0.93 0.93" ]]
