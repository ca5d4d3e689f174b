#!/usr/bin/env bash
# Has promlib, the part of Grafana's server that asks Prometheus servers, ask one what data sources, dashboards, variables,
# annotations and alert lists ask, and fails unless every answer is as it has to be. It takes some seconds, and
# minutes to build for the first time.
#
#   run.sh URL PAGE DASHBOARD   PAGE has the data source's file for Grafana as its first block of YAML
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CACHE:-$HOME/.cache/suites}/grafana
mkdir -p "$cache"
(cd "$here" && go build -o "$cache/ask" .)
exec "$cache/ask" "$@"
