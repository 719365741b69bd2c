#!/bin/sh
# Installs what the peer tests need and this machine lacks: tshark, freeDiameter, openssl, strace, hledger and python3-venv with apt (as
# root only), python-diameter, jsonschema, PyYAML and grpcio with reflection into target/peers-venv with pip. Says what is missing and goes on: a test that
# needs it skips itself. What is there in the end stands in target/peers-installed, a name a line. PEERS_NO_INSTALL=1 only looks.
root="$(cd "$(dirname "$0")/../../.." && pwd)"
venv="$root/target/peers-venv"
have() { command -v "$1" >/dev/null 2>&1; }
missing=""
have tshark && have text2pcap || missing="$missing tshark"
have freeDiameterd || missing="$missing freediameterd freediameter-extensions"
have openssl || missing="$missing openssl"
have strace || missing="$missing strace"
have hledger || missing="$missing hledger"
have python3 && python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ] && [ -z "$PEERS_NO_INSTALL" ] && have apt-get && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # one word a package
    { timeout 120 apt-get update -q && timeout 300 apt-get install -y -q --no-install-recommends $missing; } >&2 ||
        echo "setup.sh: apt-get could not install:$missing" >&2
    # The package may start a service; the tests run their own.
    have systemctl && systemctl disable --now freediameterd >/dev/null 2>&1
elif [ -n "$missing" ]; then
    echo "setup.sh: not installed:$missing" >&2
fi
for package in 'diameter python-diameter>=0.8,<1' 'jsonschema jsonschema>=4,<5' 'yaml PyYAML>=6,<7' \
    'grpc_reflection grpcio-reflection>=1.60,<2' 'grpc_status grpcio-status>=1.60,<2'; do
    module="${package%% *}" package="${package#* }"
    "$venv/bin/python" -c "import $module" 2>/dev/null && continue
    if [ -n "$PEERS_NO_INSTALL" ]; then
        echo "setup.sh: not installed: $package" >&2
    else
        { mkdir -p "$root/target" && { [ -x "$venv/bin/pip" ] || python3 -m venv "$venv"; } &&
            timeout 180 "$venv/bin/pip" install -q --disable-pip-version-check "$package"; } >&2 ||
            echo "setup.sh: pip could not install $package" >&2
    fi
done
mkdir -p "$root/target"
{
    have tshark && have text2pcap && echo tshark
    have freeDiameterd && echo freediameter
    have openssl && echo openssl
    have strace && echo strace
    have hledger && echo hledger
    "$venv/bin/python" -c 'import diameter' 2>/dev/null && echo python-diameter
    "$venv/bin/python" -c 'import jsonschema' 2>/dev/null && echo jsonschema
    "$venv/bin/python" -c 'import yaml' 2>/dev/null && echo PyYAML
    "$venv/bin/python" -c 'import grpc_reflection, grpc_status' 2>/dev/null && echo grpcio
    true
} >"$root/target/peers-installed.$$" && mv "$root/target/peers-installed.$$" "$root/target/peers-installed"
exit 0
