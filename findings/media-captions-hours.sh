#!/usr/bin/env bash
# media-captions (npm) 1.0.4 shows no subtitles after four days of a stream.
#
# Input: a WebVTT cue that begins at 99:00:01.000, and one that begins at 100:00:01.000, as subtitles of a channel have that runs on
# one clock. The hours of a timestamp are two or more digits (WebVTT, 4.1).
# Behaviour: the first is read. The second is an invalid timestamp to the parser, which leaves out the cue; unless the caller asks
# for errors there is nothing to see of it. Every segment of subtitles from the hundredth hour on is empty so.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund media-captions@1.0.4 >/dev/null
cat >read.js <<'JS'
import { parseText } from 'media-captions';
const read = async (hours, options) => {
  const text = `WEBVTT\n\n${hours}:00:01.000 --> ${hours}:00:03.000\nwords\n`;
  const { cues, errors } = await parseText(text, { type: 'vtt', ...options });
  return `${cues.length} cue(s), ${errors.length} error(s)`;
};
console.log([await read('99'), await read('100'), await read('100', { errors: true })].join(' / '));
JS
seen=$(node read.js)
echo "media-captions 1.0.4 at 99 hours / at 100 / at 100 with errors: $seen"
[[ $seen == "1 cue(s), 0 error(s) / 0 cue(s), 0 error(s) / 0 cue(s), 2 error(s)" ]]
