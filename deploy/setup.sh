#!/usr/bin/env bash
# Set-up behind `make`: checks or installs what the build needs, and compiles RocksDB once for all profiles.
# Safe to run again: every step looks before it acts.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Installs Debian packages when they are missing; names them in one line when it cannot.
need_packages() {
    local why="$1"; shift
    local sudo=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null && sudo="sudo" \
            || die "$why is missing and this user cannot install it; run: sudo apt-get install -y $*"
    fi
    command -v apt-get >/dev/null || die "$why is missing; install the equivalent of the Debian packages: $*"
    say "installing $* ($why)"
    $sudo apt-get update -qq || die "apt-get update failed; check the package sources, then run: apt-get install -y $*"
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null \
        || die "could not install $why; run: apt-get install -y $*"
}

command -v cargo >/dev/null || die "Rust is missing; install it with rustup (https://rustup.rs), version 1.95 or newer"
command -v c++ >/dev/null || need_packages "a C++ compiler" build-essential
command -v curl >/dev/null || need_packages "curl (the README asks for metrics with it)" curl
if [ "${1:-}" = lint ]; then
    for component in rustfmt clippy; do
        cargo "${component#rust}" --version >/dev/null 2>&1 && continue
        command -v rustup >/dev/null || die "$component is missing; install that component of this Rust"
        say "installing $component"
        rustup component add "$component" >/dev/null 2>&1 || die "$component is missing; run: rustup component add $component"
    done
fi

have_libclang() {
    ldconfig -p 2>/dev/null | grep -q 'libclang\(-[0-9.]*\)\?\.so' || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' | grep -v cpp | grep -q .
}
have_clang_headers() { compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null || compgen -G '/usr/lib/clang/*/include/stddef.h' >/dev/null; }
if ! have_libclang || ! have_clang_headers; then
    if apt-cache show libclang1-14 >/dev/null 2>&1; then
        need_packages "libclang (reads RocksDB's C header)" libclang1-14 libclang-common-14-dev
    else
        need_packages "libclang (reads RocksDB's C header)" libclang-dev
    fi
fi

# RocksDB: one static library, kept per user and shared by checkouts and profiles.
version="$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p}' "$root/Cargo.lock")"
[ -n "$version" ] || die "Cargo.lock names no librocksdb-sys"
# The last part counts changes of how it is compiled here.
cache="${OCS_BUILD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ocs-build}/rocksdb-$version-$(uname -m)-2"

# What the library's own build script sets on Linux for the features that we use (none).
flags=(-std=c++20 -O2 -fPIC -ffunction-sections -fdata-sections -w -include cstdint -DNDEBUG=1 -DHAVE_ALIGNED_NEW
    -DHAVE_UINT128_EXTENSION -DOS_LINUX -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT
    -DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT)
# Hardware CRC-32C; see .cargo/config.toml.
[ "$(uname -m)" != x86_64 ] || flags+=(-march=x86-64-v2)

# Compiles RocksDB in $1 as its makefile's "unity" does: many sources in one unit, whose common headers are then read
# once and not 343 times. A quarter of the time of a build file by file.
compile_in_units() {
    local build="$1" sources manifest units done
    cargo fetch --quiet --locked --manifest-path "$root/Cargo.toml" || die "the crates could not be fetched; is there a network?"
    manifest="$(cargo metadata --offline --locked --format-version 1 --manifest-path "$root/Cargo.toml" \
        | grep -o '"manifest_path":"[^"]*/librocksdb-sys-[^"]*/Cargo.toml"' | head -1 | cut -d'"' -f4)"
    sources="$(dirname "$manifest")"
    [ -f "$sources/rocksdb_lib_sources.txt" ] || return 1
    rm -rf "$build" && mkdir -p "$build"
    cp "$sources/build_version.cc" "$build/unit-version.cc"
    grep -v '^util/build_version.cc$' "$sources/rocksdb_lib_sources.txt" | grep . | split -l 18 -d - "$build/part-"
    for part in "$build"/part-*; do sed 's/.*/#include "&"/' "$part" >"$build/unit-${part##*-}.cc"; done
    units=$(find "$build" -name 'unit-*.cc' | wc -l)
    find "$build" -name 'unit-*.cc' -print0 | sort -z | xargs -0 -P "$(nproc)" -I{} sh -c \
        'unit="$1"; shift; c++ "$@" -c "$unit" -o "$unit.part" 2>"$unit.log" && mv "$unit.part" "${unit%.cc}.o"' \
        unit {} "${flags[@]}" "-I$sources/rocksdb/include" "-I$sources/rocksdb" "-I$sources" &
    local pid=$! last=-1
    while kill -0 "$pid" 2>/dev/null; do
        done=$(find "$build" -name 'unit-*.o' | wc -l)
        [ "$done" = "$last" ] || printf '    RocksDB: %s of %s parts compiled\n' "$done" "$units" >&2
        last="$done"
        sleep 3
    done
    if ! wait "$pid"; then
        cat "$build"/unit-*.log | head -40 >&2
        return 1
    fi
    ar rcs "$build/librocksdb.a" "$build"/unit-*.o
}

# The library's own build script: slower, and it knows every system.
compile_by_cargo() {
    local build="$1" built
    rm -rf "$build" && mkdir -p "$build"
    # From outside the checkout, so that .cargo/config.toml does not point the build at its own result.
    ( cd / && env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC RUSTFLAGS="$([ "$(uname -m)" = x86_64 ] && echo -Ctarget-cpu=x86-64-v2)" \
        cargo build --release --locked --manifest-path "$root/Cargo.toml" -p librocksdb-sys --target-dir "$build" ) \
        || die "RocksDB did not compile; the compiler's message is above"
    built="$(find "$build/release/build" -name librocksdb.a -size +1M | head -1)"
    [ -n "$built" ] || die "RocksDB compiled but librocksdb.a was not found under $build"
    cp "$built" "$build/librocksdb.a"
}

if [ ! -f "$cache/librocksdb.a" ]; then
    build="$root/target/rocksdb"
    say "compiling RocksDB $version once (5 to 8 minutes on two cores; later builds reuse it)"
    if [ "$(uname -s)" != Linux ] || ! compile_in_units "$build"; then
        say "compiling RocksDB file by file (up to half an hour on two cores)"
        compile_by_cargo "$build"
    fi
    mkdir -p "$cache"
    strip --strip-debug "$build/librocksdb.a"
    # Whole or not at all, also when two set-ups run at once.
    cp "$build/librocksdb.a" "$cache/librocksdb.a.$$"
    mv "$cache/librocksdb.a.$$" "$cache/librocksdb.a"
    rm -rf "$build"
fi
mkdir -p "$root/target"
ln -sfn "$cache" "$root/target/rocksdb-lib"
