#!/usr/bin/env bash
# Builds the worker for NVIDIA GPUs (feature `cuda`) on a machine that needs neither a GPU nor a driver nor an installed
# toolkit: the compiler and the libraries come from PyPI, and the driver's library, which no package has, is a stub to link with.
#
# usage: images/cuda/build.sh [CARGO ARGUMENT...]
#
#   CUDA_COMPUTE_CAP  the oldest GPU it runs on, times ten (default 90: H100; 80: A100, 89: L40S)
#   SCALEQUEST_CACHE  where the toolkit and the target directory lie (default: ~/.cache/scalequest): cuda/toolkit, cuda/target
#
# The first build compiles candle's kernels, about 15 CPU-minutes. The binary starts only where the driver's libcuda.so.1 is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${SCALEQUEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/scalequest}/cuda
wanted=$here/requirements.txt
toolkit=$cache/toolkit

fail() {
    echo "cuda: $*" >&2
    exit 1
}

for program in cargo python3 gcc g++; do
    command -v "$program" >/dev/null || fail "$program is missing; install it first"
done

# install_toolkit: one folder as NVIDIA's installer would lay it out, made anew where another version is wanted.
install_toolkit() {
    cmp -s "$wanted" "$toolkit/requirements.txt" && return
    echo "cuda: fetching the toolkit's pieces"
    rm -rf "$toolkit" "$cache/site"
    mkdir -p "$cache"
    python3 -m pip install --quiet --no-deps --only-binary=:all: --target "$cache/site" --requirement "$wanted"
    [ -x "$cache/site/nvidia/cu13/bin/nvcc" ] || fail "the packages brought no nvidia/cu13/bin/nvcc"
    mv "$cache/site/nvidia/cu13" "$toolkit"
    rm -rf "$cache/site"
    # Build scripts and compilers look for lib64, and for libraries without a version in their names.
    ln -s lib "$toolkit/lib64"
    local library plain
    for library in "$toolkit"/lib/*.so.*; do
        plain=${library%%.so.*}.so
        [ -e "$plain" ] || ln -s "$(basename "$library")" "$plain"
    done
    stub_driver
    cp "$wanted" "$toolkit/requirements.txt"
}

# stub_driver: a libcuda.so to link with: every function that the driver's header names, each saying that it does not work. The
# driver's own library takes its place when the program starts.
stub_driver() {
    mkdir -p "$toolkit/lib/stubs"
    grep -oE '\bcu[A-Z][A-Za-z0-9_]*' "$toolkit/include/cuda.h" | sort -u | sed 's/.*/int &(void) { return 34; }/' |
        gcc -w -shared -x c - -Wl,-soname,libcuda.so.1 -o "$toolkit/lib/stubs/libcuda.so"
}

install_toolkit
export PATH=$toolkit/bin:$PATH CUDA_HOME=$toolkit NVCC=$toolkit/bin/nvcc CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
export CARGO_TARGET_DIR=$cache/target
cd "$root"
cargo build --release --locked --package scalequest-worker --features cuda --bins "$@"
echo "cuda: $CARGO_TARGET_DIR/release/scalequest-worker, for GPUs of compute capability $CUDA_COMPUTE_CAP and newer"
echo "cuda: it starts with the driver's libcuda.so.1 and with LD_LIBRARY_PATH=$toolkit/lib"
