#!/usr/bin/env bash
# prom-client (npm) 15.1.3 gives a counter another name after the first time that it was written in the format of OpenMetrics.
#
# Input: a counter of viewers_total in a registry that is asked for both formats, as a server of metrics is that looks at Accept: in
# the text format of Prometheus, in OpenMetrics (whose samples of a counter end with _total, the name of its family without it), and
# in the text format again.
# Behaviour: to write OpenMetrics, the library cuts _total off the counter itself. The text format then calls it viewers, and the
# series viewers_total ends for whoever asks so: its graphs and alarms stop with the first visit of another client. Asked for by its
# name alone before, it is viewers_total_total in OpenMetrics.
# Needs: node, npm. Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund --prefix . prom-client@15.1.3 >/dev/null
cat >write.cjs <<'JS'
const { Counter, Registry } = require('prom-client');
(async () => {
  const registry = new Registry();
  new Counter({ name: 'viewers_total', help: 'viewers', registers: [registry] }).inc(3);
  const sample = (text) => text.split('\n').find((line) => /^\w/.test(line));
  const seen = [sample(await registry.metrics())];
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  seen.push(sample(await registry.getSingleMetricAsString('viewers_total')), sample(await registry.metrics()));
  registry.setContentType(Registry.PROMETHEUS_CONTENT_TYPE);
  seen.push(sample(await registry.metrics()));
  console.log(seen.join(' / '));
})();
JS
seen=$(node write.cjs)
echo "prom-client 15.1.3 in text / OpenMetrics, asked by name / OpenMetrics / text again: $seen"
[[ $seen == "viewers_total 3 / viewers_total_total 3 / viewers_total 3 / viewers 3" ]]
