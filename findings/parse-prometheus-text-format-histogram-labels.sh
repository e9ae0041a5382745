#!/usr/bin/env bash
# parse-prometheus-text-format (npm) 1.1.1 keeps one series of a histogram that has labels.
#
# Input: the histogram of a server's delays with a label for the protocol: two series of two buckets each, with their sum and count,
# in the text format of Prometheus 0.0.4 (Histograms and summaries: each bucket's le stands beside the other labels).
# Behaviour: the buckets of the two series are put into one, where those of the second overwrite those of the first. The label is
# gone, and so are sum and count, which are kept for a histogram without labels. What a dashboard shows as the delay of all players
# is that of the protocol which was written last.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . parse-prometheus-text-format@1.1.1 >/dev/null
cat >read.cjs <<'JS'
const parse = require('parse-prometheus-text-format');
const series = (label, count) => [
  `delay_bucket{${label}le="1"} ${count}`, `delay_bucket{${label}le="+Inf"} ${count + 1}`,
  label ? `delay_sum{${label.slice(0, -1)}} ${count * 2}` : `delay_sum ${count * 2}`,
  label ? `delay_count{${label.slice(0, -1)}} ${count + 1}` : `delay_count ${count + 1}`,
];
const read = (lines) => JSON.stringify(parse(['# TYPE delay histogram', ...lines].join('\n') + '\n')[0].metrics);
console.log(read(series('', 10)) + ' / ' + read([...series('protocol="rtmp",', 10), ...series('protocol="srt",', 50)]));
JS
seen=$(node read.cjs)
echo "parse-prometheus-text-format 1.1.1, without / with labels: $seen"
[[ $seen == '[{"buckets":{"1":"10","+Inf":"11"},"count":"11","sum":"20"}] / [{"buckets":{"1":"50","+Inf":"51"}}]' ]]
