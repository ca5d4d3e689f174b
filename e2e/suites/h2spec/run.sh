#!/usr/bin/env bash
# Runs h2spec (146 cases of RFC 9113 and RFC 7541 with --strict, 145 without) against a server,
# and fails unless every case passes. Usage: run.sh HOST:PORT h2c|tls PATH. PATH must be
# answered with 200 and a few bytes. It takes a second; each case that is not answered costs two more.
set -euo pipefail
target=$1 mode=$2 path=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CACHE:-$HOME/.cache/suites}/h2spec
mkdir -p "$cache"
(cd "$here" && go build -o "$cache/h2spec" github.com/summerwind/h2spec/cmd/h2spec)
flags=(-h "${target%:*}" -p "${target##*:}" -P "$path" -o 2 --strict)
[[ $mode == tls ]] && flags+=(-t -k)
out=$("$cache/h2spec" "${flags[@]}" 2>&1) || true
grep -aE -A4 '^ *× ' <<<"$out" || true
[[ $(grep -a ' tests, ' <<<"$out") =~ ([0-9]+)\ passed,\ ([0-9]+)\ skipped,\ ([0-9]+)\ failed ]] || {
  tail -n 3 <<<"$out"
  exit 1
}
failed=$((BASH_REMATCH[2] + BASH_REMATCH[3])) # what is skipped has not passed
echo "${BASH_REMATCH[1]} passed, $failed failed"
[[ $failed == 0 ]]
