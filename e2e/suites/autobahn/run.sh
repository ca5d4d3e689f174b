#!/usr/bin/env bash
# Runs the Autobahn WebSocket suite, 247 cases, against a server that echoes, and fails unless
# every case passes. It takes some ten seconds. Cases 9 (speed) and 12, 13 (compression between
# client and server, which a proxy does not see) are left out. It needs CPython 2.7, which it
# looks for in the PATH and with pyenv.
#
#   run.sh build                    installs the suite
#   run.sh echo                     builds the echo server to run behind the proxy, and prints its path
#   run.sh ws://HOST:PORT           runs the cases in clear text
#   run.sh wss://HOST:PORT          runs them over TLS; any certificate will do
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CACHE:-$HOME/.cache/suites}/autobahn
mkdir -p "$cache"

if [[ $1 == build ]]; then
  if [[ ! -x $cache/env/bin/wstest ]]; then
    python=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7 2>/dev/null | tail -n 1 || true)
    : "${python:=$(command -v python2.7 || true)}"
    if [[ -z $python ]]; then
      echo "no CPython 2.7 (pyenv install 2.7.18)" >&2
      exit 3
    fi
    rm -rf "$cache/env"
    {
      "$python" -m pip install -q --target "$cache/virtualenv" virtualenv==20.15.1
      PYTHONPATH=$cache/virtualenv "$python" -m virtualenv -q "$cache/env"
      "$cache/env/bin/pip" install -q -r "$here/requirements.txt"
    } >"$cache/log" 2>&1 || {
      tail -n 20 "$cache/log" >&2
      rm -rf "$cache/env"
      exit 3
    }
  fi
  echo "$cache/env/bin/wstest"
  exit
fi
if [[ $1 == echo ]]; then
  (cd "$here/wsecho" && go build -o "$cache/wsecho" .)
  echo "$cache/wsecho"
  exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/spec.json" <<SPEC
{"outdir": "$work/report", "servers": [{"agent": "weir", "url": "$1"}], "cases":
 ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"], "exclude-cases": [], "exclude-agent-cases": {}}
SPEC
(cd "$work" && timeout 300 "$cache/env/bin/wstest" -m fuzzingclient -s spec.json >log 2>&1) || {
  tail -n 5 "$work/log"
  exit 1
}
"$cache/env/bin/python" - "$work/report/index.json" <<'REPORT'
import json, sys
cases = json.load(open(sys.argv[1]))["weir"]
failed = 0
for name in sorted(cases):
    case = cases[name]
    if case["behavior"] not in ("OK", "NON-STRICT", "INFORMATIONAL") or case["behaviorClose"] not in ("OK", "INFORMATIONAL"):
        failed += 1
        print("x %s: %s, close %s" % (name, case["behavior"], case["behaviorClose"]))
print("%d passed, %d failed" % (len(cases) - failed, failed))
sys.exit(failed > 0 or len(cases) != 247)
REPORT
