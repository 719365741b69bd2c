#!/usr/bin/env bash
# `make bench`: `ocs` beside its references in one run, into the section of benches/RESULTS.md between the bench marks.
# BENCH_SECONDS (default 15) is the length of each measurement, BENCH_RESULTS another file to write to.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
seconds="${BENCH_SECONDS:-15}"
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

say "building"
cargo build --release --locked -p ocs -p ocs-benches -p ocs-cdr-files
work="$root/target/bench"
rm -rf "$work"
mkdir -p "$work"

{
    echo
    echo "Measured $(date -u +%Y-%m-%d) at commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown) on $(nproc) cores"
    echo "($(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1)), load generator on the same cores, load average before:"
    echo "$(cut -d' ' -f1-3 /proc/loadavg). Each row is one run of $seconds s, checkpoint and CDR store included, durability fsync unless said."
    echo
    echo '```'
    say "the engine alone"
    target/release/engine
    say "pricing alone"
    target/release/pricing
    echo '```'
    say "end to end"
    target/release/compare target/release "$work" "$seconds"
} >"$work/report.md"

results="${BENCH_RESULTS:-benches/RESULTS.md}"
[ -f "$results" ] || printf '# Results\n' >"$results"
grep -q '<!-- bench:begin -->' "$results" || printf '\n<!-- bench:begin -->\n<!-- bench:end -->\n' >>"$results"
awk -v report="$work/report.md" '
    /<!-- bench:begin -->/ { print; while ((getline line < report) > 0) print line; skip = 1; next }
    /<!-- bench:end -->/ { skip = 0 }
    !skip { print }
' "$results" >"$work/results.md"
mv "$work/results.md" "$results"
rm -rf "$work"
say "written to $results"
