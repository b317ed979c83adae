#!/usr/bin/env bash
# Packs a directory as a container image of one layer: an archive that `docker load`, `podman load`, `ctr images import` and
# `kind load image-archive` read (an OCI layout with docker's manifest.json beside it). The same files make the same bytes.
# Needs GNU tar and sha256sum, no registry, no daemon and no root.
#
# usage: images/pack.sh ARCHIVE NAME:TAG ARCHITECTURE DIRECTORY PROGRAM [ARGUMENT...]
#
# ARCHITECTURE is Go's word (amd64, arm64). The image runs PROGRAM as user 65532, with nothing in its environment but PATH.
set -euo pipefail

[ $# -ge 5 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
archive=$1 name=$2 architecture=$3 directory=$4
shift 4

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/blobs/sha256"

# The same bytes whoever packs when: no times, no owners, sorted names.
pack() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu "$@"; }

# blob: keeps standard input under its digest and prints the digest.
blob() {
    cat >"$work/blob"
    local digest
    digest=$(sha256sum "$work/blob" | cut -d' ' -f1)
    mv "$work/blob" "$work/blobs/sha256/$digest"
    echo "$digest"
}

# descriptor TYPE DIGEST: how a manifest refers to a blob.
descriptor() {
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%d}' "$1" "$2" "$(stat -c %s "$work/blobs/sha256/$2")"
}

entrypoint=
for word in "$@"; do
    case $word in *[\"\\]*) echo "pack: '$word' cannot be written into JSON" >&2; exit 2 ;; esac
    entrypoint+="${entrypoint:+,}\"$word\""
done

layer=$(pack -C "$directory" -cf - . | blob)
config=$(printf '{"architecture":"%s","os":"linux","config":{"User":"65532:65532","Entrypoint":[%s],"WorkingDir":"/","Env":["PATH=/usr/local/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created_by":"images/pack.sh"}]}' \
    "$architecture" "$entrypoint" "$layer" | blob)
manifest=$(printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
    "$(descriptor application/vnd.oci.image.config.v1+json "$config")" \
    "$(descriptor application/vnd.oci.image.layer.v1.tar "$layer")" | blob)
entry=$(descriptor application/vnd.oci.image.manifest.v1+json "$manifest")
# containerd wants the whole name, in which a bare one belongs to docker.io/library.
case $name in
*/*) full=docker.io/$name ;;
*) full=docker.io/library/$name ;;
esac
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}' \
    "${entry%\}},\"annotations\":{\"io.containerd.image.name\":\"$full\",\"org.opencontainers.image.ref.name\":\"${name##*:}\"}}" >"$work/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
printf '[{"Config":"blobs/sha256/%s","RepoTags":["%s"],"Layers":["blobs/sha256/%s"]}]' "$config" "$name" "$layer" >"$work/manifest.json"

mkdir -p "$(dirname "$archive")"
pack -C "$work" -cf "$archive.partial" blobs index.json manifest.json oci-layout
mv "$archive.partial" "$archive"
