#!/usr/bin/env bash
# Runs gRPC's own interop cases, all 14 that need no cloud, through a proxy, and fails unless
# every one passes. It takes some seconds.
#
#   run.sh build                    builds client and server, and prints their folder
#   run.sh HOST:PORT                runs the cases in clear text
#   run.sh HOST:PORT CA_FILE NAME   runs them over TLS; the proxy's certificate is for NAME
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CACHE:-$HOME/.cache/suites}/grpc-interop
mkdir -p "$cache"
for program in client server; do
  (cd "$here" && go build -o "$cache/$program" "google.golang.org/grpc/interop/$program")
done
if [[ $1 == build ]]; then
  echo "$cache"
  exit
fi
flags=(--server_host="${1%:*}" --server_port="${1##*:}")
[[ $# -gt 1 ]] && flags+=(--use_tls --use_test_ca --ca_file="$2" --server_host_override="$3")
passed=0 failed=0
for name in empty_unary large_unary client_streaming server_streaming ping_pong empty_stream \
  timeout_on_sleeping_server cancel_after_begin cancel_after_first_response status_code_and_message \
  special_status_message custom_metadata unimplemented_method unimplemented_service; do
  if out=$(timeout 20 "$cache/client" "${flags[@]}" --test_case="$name" 2>&1); then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "× $name: $(tail -n 1 <<<"$out")"
  fi
done
echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
