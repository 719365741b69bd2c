#!/usr/bin/env bash
# `make demo`: starts `ocs dev`, drives real Gy traffic over TCP, follows the CDR stream over gRPC, stops, audits, and says
# whether everything agrees. Everything stays on loopback and under target/demo.
set -euo pipefail

seconds="${1:-15}"
subscribers="${2:-10000}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
ocs="$root/target/release/ocs"
work="$root/target/demo"
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

rm -rf "$work"
mkdir -p "$work"
server="" tail=""
cleanup() {
    [ -z "$tail" ] || kill "$tail" 2>/dev/null || true
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
}
trap cleanup EXIT

fail() { echo "demo: $*" >&2; exit 1; }
# A server that is there already is somebody else's: it would be charged, topped up and asked for its CDRs.
for port in 3868 50051 9464; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        fail "port $port on 127.0.0.1 is taken by another process; stop it and run the demo again"
    fi
done

say "starting ocs dev with $subscribers subscribers (Gy 127.0.0.1:3868, gRPC 127.0.0.1:50051, metrics 127.0.0.1:9464)"
"$ocs" dev --data "$work/data" --subscribers "$subscribers" --quiet 2>"$work/server.log" &
server=$!
lives() { kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; fail "the server ended"; }; }
ready=""
for _ in $(seq 200); do
    lives
    if "$ocs" cdr tail --from 1 >/dev/null 2>&1; then ready=yes; break; fi
    sleep 0.1
done
lives
[ -n "$ready" ] || { cat "$work/server.log" >&2; fail "the server does not answer"; }

say "following the CDR stream over gRPC"
"$ocs" cdr tail --from 1 --follow --totals --summary "$work/cdrs.json" >"$work/cdrs.txt" 2>"$work/cdrs.live" &
tail=$!

say "$seconds seconds of Gy traffic: 4 network elements, 64 sessions each"
"$ocs" traffic --connections 4 --sessions 64 --rating-groups 2 --subscribers "$subscribers" --seconds "$seconds" \
    --repeat-every 50 --live --summary "$work/traffic.json"

say "a subscriber, as support sees it"
"$ocs" account show msisdn-4917000000005
"$ocs" account topup msisdn-4917000000005 --amount 5.00 --key demo-1 --reason "demo"
"$ocs" account topup msisdn-4917000000005 --amount 5.00 --key demo-1 --reason "demo"
say "its newest CDRs"
"$ocs" cdr tail | tail -3

# The stream lags the last answer by a moment.
sleep 0.5
say "stopping"
kill -TERM "$tail"; wait "$tail" || true; tail=""
kill -TERM "$server"; wait "$server"; server=""

say "the CDR stream saw: $(cat "$work/cdrs.txt")"
say "audit of the data folder, against what the network elements and finance counted"
"$ocs" audit --data "$work/data" --agrees-with "$work/traffic.json" --agrees-with "$work/cdrs.json"
