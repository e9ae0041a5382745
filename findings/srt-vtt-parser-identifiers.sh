#!/usr/bin/env bash
# @plussub/srt-vtt-parser (npm) 2.0.5 leaves out a subtitle whose identifier has "note", "style" or "region" in it.
#
# Input: WebVTT with four cues whose identifiers are "cue-1", "keynote-1", "lifestyle-1" and "regional-1". An identifier is any text
# without an arrow; a comment is a block that begins with NOTE, and a line STYLE or REGION alone begins a style or a region (WebVTT,
# 4.1).
# Behaviour: only the first cue comes out, without an error. The three words are looked for anywhere in the line, in capitals or
# not, so how a newsroom names its subtitles decides which of them are shown.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
echo '{"type":"module"}' >package.json
npm install --silent --no-audit --no-fund @plussub/srt-vtt-parser@2.0.5 >/dev/null
cat >read.js <<'JS'
import { parse } from '@plussub/srt-vtt-parser';
const cue = (name, second) => `${name}\n00:00:0${second}.000 --> 00:00:0${second}.900\nwords\n`;
const names = ['cue-1', 'keynote-1', 'lifestyle-1', 'regional-1'];
const { entries } = parse(`WEBVTT\n\n${names.map(cue).join('\n')}`);
console.log(`${names.length} cues, read: ${entries.map((entry) => entry.id)}`);
JS
found=$(node read.js)
echo "@plussub/srt-vtt-parser 2.0.5: $found"
[[ $found == "4 cues, read: cue-1" ]]
