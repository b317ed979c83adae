#!/usr/bin/env bash
# Builds from Go modules what only some commands need, each into a folder of the cache named by a hash of what decides it:
#
#   oldest   the oldest Kubernetes that the chart allows, in the place of the one that build.sh builds; the rest as there
#   kueue    Kueue's controller, with its manifests
#   argo     the controller of Argo Workflows, with its manifests: a peer for the benchmark
#
# usage: tests/kubernetes/more.sh NAME            build it where it is missing
#        tests/kubernetes/more.sh --where NAME    print its folder, built or not
set -euo pipefail
cd "$(dirname "$0")"

is_asked=no
[ "${1:-}" = --where ] && is_asked=yes && shift
name=${1:-}
[[ $name =~ ^(oldest|kueue|argo)$ ]] || { echo "usage: more.sh [--where] oldest|kueue|argo" >&2; exit 2; }

base=$(./build.sh --where)
key=$(cat more.sh "$name/go.mod" "$name/go.sum" servers/*.go | sha256sum | cut -c1-16)
folder=$(dirname "$base")/$name-$key
[ "$name" != oldest ] || folder=$folder-$(basename "$base" | cut -c1-6)
[ "$is_asked" = yes ] && echo "$folder" && exit
if [ -d "$folder" ]; then
    touch "$folder"
    exit
fi
./build.sh

export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-buildvcs=false -mod=readonly"
temporary=$(mktemp -d "$(dirname "$base")/.building-XXXXXX")
trap 'rm -rf "$temporary"' EXIT

# program MODULE PACKAGE: builds a program of another module's.
program() {
    echo "kubernetes: building $name (about 4 minutes on 2 cores, once)"
    (cd "$name" && go build -trimpath -ldflags "-s -w" -o "$temporary/" "$1/$2")
    source=$(cd "$name" && go list -m -f '{{.Dir}}' "$1")
}

case $name in
oldest)
    version=$(sed -n 's#^.*k8s.io/kubernetes \(v[0-9.]*\).*#\1#p' oldest/go.mod)
    minor=${version#v1.}
    stamps=(
        "k8s.io/component-base/version.gitVersion=$version"
        "k8s.io/component-base/version.gitMajor=1"
        "k8s.io/component-base/version.gitMinor=${minor%%.*}"
        "k8s.io/client-go/pkg/version.gitVersion=$version"
    )
    echo "kubernetes: building $version (about 10 minutes on 2 cores, once)"
    cp -al "$base/." "$temporary/"
    rm "$temporary/servers" "$temporary/kubelet"
    go build -modfile=oldest/go.mod -trimpath -ldflags "-s -w ${stamps[*]/#/-X }" -o "$temporary/" \
        ./servers k8s.io/kubernetes/cmd/kubelet
    ;;
kueue)
    program sigs.k8s.io/kueue cmd/kueue
    "$base/kubectl" kustomize "$source/config/default" >"$temporary/manifests.yaml"
    ;;
argo)
    program github.com/argoproj/argo-workflows/v3 cmd/workflow-controller
    "$base/kubectl" kustomize "$source/manifests/cluster-install" >"$temporary/manifests.yaml"
    ;;
esac
chmod 755 "$temporary"
mv "$temporary" "$folder"
trap - EXIT
