#!/usr/bin/env bash
# `make campaign`: the long runs. Laws and model of the rating engine, crashes and torn logs of the store, fuzzed decoders,
# the whole system over a failing disk, kill -9 under load, retransmissions. Seeded; a failure names its seed and its log.
#
#   deploy/campaign.sh                         everything, hours; rewrites the campaign section of benches/RESULTS.md
#   CAMPAIGN_ONLY="faults crash" ...           only these, and only their rows: laws model tariffs documents gy store
#                                              store-fuzz diameter-fuzz faults crash consumers journal repeats
#   CAMPAIGN_SECONDS=60 deploy/campaign.sh     about so many seconds per campaign, after the build; writes no results
#   CAMPAIGN_SEED=7 ...                        another beginning (1)
#   CAMPAIGN_PROFILE=dev ...                   another cargo profile (release)
#   CAMPAIGN_JOBS=2 ...                        so many campaigns side by side (1); each takes one core, more or less
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root" || exit 1
seconds="${CAMPAIGN_SECONDS:-}"
seed="${CAMPAIGN_SEED:-1}"
only="${CAMPAIGN_ONLY:-}"
profile="${CAMPAIGN_PROFILE:-release}"
jobs="${CAMPAIGN_JOBS:-1}"
logs="$root/target/campaign"
results="$root/benches/RESULTS.md"
unset CAMPAIGN_SECONDS CAMPAIGN_SEED
case "$seconds$seed$jobs" in *[!0-9]*) echo "campaign: CAMPAIGN_SECONDS, _SEED and _JOBS are whole numbers" >&2; exit 2 ;; esac

commit="$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit="$commit with local changes"
cpu="$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)"
where="$(date -u +%F), $commit, $(nproc) cores of ${cpu:-an unknown CPU}, $profile"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
names=()
mkdir -p "$logs"
rm -f "$logs"/*.row "$logs"/*.failed

# run KIND NAME ...: one campaign, beside others if there may be several.
run() {
    [ -z "$only" ] || [[ " $only " == *" $2 "* ]] || return 0
    names+=("$2")
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
    "$@" &
}

# note NAME WHAT COUNTS SEEDS STARTED STATUS: prints a campaign's end and keeps its row.
note() {
    local took=$(($(date +%s) - $5)) result="passed"
    [ "$6" -eq 0 ] || { result="**FAILED**"; touch "$logs/$1.failed"; }
    say "$1: $result after $took s; $3"
    [ "$6" -eq 0 ] || { tail -n 40 "$logs/$1.log"; echo "campaign: the whole log is target/campaign/$1.log" >&2; }
    echo "| $1 | $2 | $3 | $4 | $took s | $where | $result |" >"$logs/$1.row"
}

# A campaign's own words about itself: the lines of its log that begin with its name.
own_words() { grep -ho "$1: .*" "$logs/$2.log" | sed "s/^$1: //; s/|/\//g" | tail -n "${3:-1}" | paste -sd ';' -; }

test_in() { cargo test --quiet --locked --profile "$profile" "$@"; }

# How many tests `cargo test ARGS...` would run: a filter that matches nothing would pass for ever.
count_tests() {
    local separator=--
    [[ " $* " != *" -- "* ]] || separator=
    test_in "$@" $separator --list 2>/dev/null | grep -c ': test$'
}

# cases NAME WHAT CHUNK FULL ARGS...: so many seeded cases, chunk after chunk; with CAMPAIGN_SECONDS until they are over,
# so that a short run is the beginning of a long one.
cases() {
    local name="$1" what="$2" chunk="$3" full="$4" started status=0 done=0; shift 4
    started=$(date +%s)
    : >"$logs/$name.log"
    say "$name: $what"
    [ "$(count_tests "$@")" -gt 0 ] || { echo "no test matches: $*" >"$logs/$name.log"; status=1; }
    while [ "$status" -eq 0 ]; do
        CAMPAIGN_SEED=$((seed + done)) CAMPAIGN_CASES="$chunk" PROPTEST_RNG_SEED=$((seed + done)) PROPTEST_CASES="$chunk" test_in "$@" >>"$logs/$name.log" 2>&1 || { status=1; break; }
        done=$((done + chunk))
        if [ -n "$seconds" ]; then [ $(($(date +%s) - started)) -lt "$seconds" ] || break
        else [ "$done" -lt "$full" ] || break; fi
        [ $((done % (10 * chunk))) -ne 0 ] || printf '    %s: %s cases\n' "$name" "$done"
    done
    note "$name" "$what" "$done cases each" "$seed to $((seed + done - 1))" "$started" "$status"
}

# fuzz NAME WHAT TARGETS ARGS...: each target for its time, one after the other.
fuzz() {
    local name="$1" what="$2" targets="$3" started status=0 each; shift 3
    started=$(date +%s)
    if [ "$targets" -eq 0 ]; then
        echo "no test matches: $*" >"$logs/$name.log"
        note "$name" "$what" "no targets" "$seed" "$started" 1
        return 0
    fi
    each="${seconds:+$(((seconds + targets - 1) / targets))}"
    each="${each:-600}"
    say "$name: $what, $targets targets of $each s"
    FUZZ_SECONDS="$each" FUZZ_SEED="$seed" CAMPAIGN_SEED="$seed" test_in "$@" --nocapture --test-threads=1 >"$logs/$name.log" 2>&1 || status=1
    note "$name" "$what" "$targets targets of $each s" "$seed" "$started" "$status"
}

# told NAME WHAT ENV ARGS...: a campaign of ocs that says itself what it did.
told() {
    local name="$1" what="$2" setting="$3" started status=0; shift 3
    started=$(date +%s)
    say "$name: $what ($setting${seconds:+, at most about $seconds s})"
    env ${seconds:+CAMPAIGN_SECONDS="$seconds"} CAMPAIGN_SEED="$seed" "$setting" \
        cargo test --quiet --locked --profile "$profile" -p ocs --test "$name" "$@" -- --nocapture --test-threads=1 \
        >"$logs/$name.log" 2>&1 || status=1
    note "$name" "$what" "$(own_words "$name" "$name")" "$seed" "$started" "$status"
}

# journal NAME WHAT: books of a million charged events, the consumer killed 50 times and the server 10.
journal() {
    local what="$2" started status=0
    started=$(date +%s)
    say "journal: $what${seconds:+ (at most about $seconds s)}"
    env ${seconds:+CAMPAIGN_SECONDS="$seconds"} CAMPAIGN_SEED="$seed" CAMPAIGN_KILLS=50 CAMPAIGN_RATE=20000 CAMPAIGN_SUBSCRIBERS=2000 \
        cargo test --quiet --locked --profile "$profile" -p ocs -p ocs-journal --test books -- --nocapture --test-threads=1 \
        >"$logs/journal.log" 2>&1 || status=1
    note journal "$what" "$(own_words journal journal)" "$seed" "$started" "$status"
}

say "building the campaigns ($profile)"
# Of some campaigns each builds what it needs: all tests take long.
[ -n "$only" ] || cargo test --quiet --locked --profile "$profile" --no-run -p rating-engine -p balance-store -p diameter -p ocs -p ocs-journal || exit 1

# The longest first: side by side, the short ones fill up what is left.
run fuzz diameter-fuzz "Diameter headers, AVPs, messages, the input of a peer, Gy requests and answers, mutated" \
    "$(count_tests -p diameter --test fuzz --)" -p diameter --test fuzz --
run fuzz store-fuzz "frames, segments, CDR blocks and whole files, mutated" \
    "$(count_tests -p balance-store --test store -- fuzz::)" -p balance-store --test store -- fuzz::
run told faults "the whole system over a failing disk, checked request by request" CAMPAIGN_CASES=200
run told crash "kill -9 under Gy load over TCP, audited against what clients were told" CAMPAIGN_KILLS=50
run told consumers "a consumer of CDRs and its server killed, the consumer's books against the audit" CAMPAIGN_CASES=300 what_a_consumer
run journal journal "kills of the reference consumer and of the server, its books against control totals, audit and hledger"
run told repeats "requests sent twice in every way, against the tariff computed a second way" CAMPAIGN_REQUESTS=6000
run cases laws "laws of the rating engine: the books balance, replay rebuilds, repeats change nothing" 2000 100000 \
    -p rating-engine --test laws
run cases model "the rating engine against a second, naive one" 2000 100000 -p rating-engine --test model
run cases gy "Gy as clients write it and as anybody might, against its laws" 500 50000 -p diameter --test gy_laws
run cases tariffs "prices, windows and calls against a naive search and a naive clock" 2000 100000 \
    -p rating-engine --test tariffs
run cases documents "tariff and offer documents, damaged" 2000 100000 -p ocs --test documents
run cases store "log and CDR store over a disk that forgets, tears and fails" 50 5000 -p balance-store --test store -- campaign::
wait

failed=0
for name in "${names[@]}"; do
    { [ -f "$logs/$name.row" ] && [ ! -f "$logs/$name.failed" ]; } || failed=1
done

# The section's rows: of what ran now its own, of everything else what stands there.
section_rows() {
    local name
    for name in laws model tariffs documents gy store store-fuzz diameter-fuzz faults crash consumers journal repeats; do
        if [ -f "$logs/$name.row" ]; then cat "$logs/$name.row"
        else sed -n '/<!-- campaign:begin -->/,/<!-- campaign:end -->/p' "$results" | grep "^| $name |" || true
        fi
    done
}

if [ -z "$seconds" ] && [ "${#names[@]}" -gt 0 ]; then
    section="$(
        echo '<!-- campaign:begin -->'
        echo '| campaign | what ran | counts | seeds | duration | where | result |'
        echo '| --- | --- | --- | --- | --- | --- | --- |'
        section_rows
        echo '<!-- campaign:end -->'
    )"
    SECTION="$section" awk '
        /<!-- campaign:begin -->/ { print ENVIRON["SECTION"]; inside = 1 }
        !inside { print }
        /<!-- campaign:end -->/ { inside = 0 }
    ' "$results" >"$results.new" && mv "$results.new" "$results"
    say "wrote the campaign section of benches/RESULTS.md"
fi
[ "$failed" -eq 0 ] || { echo "campaign: something failed: $(cd "$logs" && echo *.failed)" >&2; exit 1; }
say "every campaign passed"
