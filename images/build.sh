#!/usr/bin/env bash
# Makes the images of the project from built binaries, without a registry: each holds one program, the shared libraries that it
# needs (found by ldd), the system's certificate authorities, a user and an empty /tmp. There is no shell inside.
#
# usage: images/build.sh [--tag TAG] [--release DIR] [--out DIR] [PROGRAM...]
#
#   --tag TAG       tag of the images (default: the workspace's version)
#   --release DIR   folder of the binaries (default: target/release, as `cargo build --release` leaves it)
#   --out DIR       folder of the archives NAME.tar (default: target/images)
#   PROGRAM         binary to make an image of (default: scalequest and scalequest-worker)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

tag=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
release=${CARGO_TARGET_DIR:-$root/target}/release
out=${CARGO_TARGET_DIR:-$root/target}/images
images=()
while [ $# -gt 0 ]; do
    case $1 in
    --tag) tag=$2 && shift 2 ;;
    --release) release=$2 && shift 2 ;;
    --out) out=$2 && shift 2 ;;
    -*) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    *) images+=("$1") && shift ;;
    esac
done
[ ${#images[@]} -gt 0 ] || images=(scalequest scalequest-worker)

fail() {
    echo "images: $*" >&2
    exit 1
}

case $(uname -m) in
x86_64) architecture=amd64 ;;
aarch64) architecture=arm64 ;;
*) architecture=$(uname -m) ;;
esac

# Where distributions keep the certificate authorities that TLS to stores and model servers is checked against.
authorities=
for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
    [ -r "$file" ] && authorities=$file && break
done
[ -n "$authorities" ] || fail "no certificate authorities are installed (Debian: apt-get install ca-certificates)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for image in "${images[@]}"; do
    binary=$release/$image
    [ -x "$binary" ] || fail "$binary is not built: run \`make build\` first"
    files=$work/$image
    mkdir -p "$files/usr/local/bin" "$files/etc/ssl/certs"
    install -m 755 "$binary" "$files/usr/local/bin/$image"
    install -m 644 "$authorities" "$files/etc/ssl/certs/ca-certificates.crt"
    install -d -m 1777 "$files/tmp"
    echo 'nonroot:x:65532:65532::/tmp:/sbin/nologin' >"$files/etc/passwd"
    echo 'nonroot:x:65532:' >"$files/etc/group"
    # Lines of ldd: `name => path (address)`, and the loader as `path (address)`; the vdso has no path. Libraries go where the
    # loader looks for them by itself, links followed.
    ldd "$binary" | sed -n 's/^\s*\(\S* => \)\?\(\/\S*\) (.*/\2/p' | while read -r library; do
        install -D -m 755 "$(readlink -f "$library")" "$files$library"
    done
    "$root/images/pack.sh" "$out/$image.tar" "$image:$tag" "$architecture" "$files" "/usr/local/bin/$image"
    echo "images: $out/$image.tar is $image:$tag, $(($(stat -c %s "$out/$image.tar") >> 20)) MiB"
done
