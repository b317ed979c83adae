#!/usr/bin/env bash
# Builds the Kubernetes of the tests from Go modules: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet,
# kubectl, kwok and helm, each at the version that go.mod says. Programs go to a folder of the cache that is named by a hash
# of everything that decides them, so a second call does nothing.
#
# usage: tests/kubernetes/build.sh            build what is missing
#        tests/kubernetes/build.sh --where    print the programs' folder, built or not
set -euo pipefail
cd "$(dirname "$0")"

key=$(cat build.sh go.mod go.sum servers/*.go pod/*.go ../../images/pack.sh | sha256sum | cut -c1-16)
cache=${SCALEQUEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/scalequest}/kubernetes
bin=$cache/$key
[ "${1:-}" = --where ] && echo "$bin" && exit

# The folder appears whole: a build that was interrupted is begun again, by Go's own cache from where it stood.
if [ -d "$bin" ]; then
    touch "$bin"
    exit
fi
command -v go >/dev/null || { echo "kubernetes: go is missing; install Go $(sed -n 's/^go //p' go.mod) or newer" >&2; exit 1; }
mkdir -p "$cache"
# What no build has asked for in two weeks is of an older go.mod.
find "$cache" -mindepth 1 -maxdepth 1 -mtime +14 -exec rm -rf {} +

version=$(sed -n 's#^.*k8s.io/kubernetes \(v[0-9.]*\).*#\1#p' go.mod)
helm=$(sed -n 's#^.*helm.sh/helm/v4 \(v[0-9.]*\).*#\1#p' go.mod)
minor=${version#v1.}
# Without the stamps servers call themselves v0.0.0, and kubectl and helm refuse to parse it.
stamps=(
    "k8s.io/component-base/version.gitVersion=$version"
    "k8s.io/component-base/version.gitMajor=1"
    "k8s.io/component-base/version.gitMinor=${minor%%.*}"
    "k8s.io/client-go/pkg/version.gitVersion=$version"
    "helm.sh/helm/v4/internal/version.version=$helm"
)
echo "kubernetes: building $version (about 10 minutes on 2 cores, once)"
temporary=$(mktemp -d "$cache/.building-XXXXXX")
trap 'rm -rf "$temporary"' EXIT
CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-buildvcs=false -mod=readonly" \
    go build -trimpath -ldflags "-s -w ${stamps[*]/#/-X }" -o "$temporary/" \
    ./servers ./pod k8s.io/kubernetes/cmd/kubelet k8s.io/kubernetes/cmd/kubectl \
    sigs.k8s.io/kwok/cmd/kwok helm.sh/helm/v4/cmd/helm
for server in etcd kube-apiserver kube-controller-manager kube-scheduler; do
    ln -s servers "$temporary/$server"
done

# kwok's own stages, by which simulated nodes and pods live.
stages=$(GOFLAGS=-mod=readonly GOTOOLCHAIN=local go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
for stage in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease pod/fast/pod-ready pod/fast/pod-delete; do
    cat "$stages/$stage.yaml"
    echo ---
done >"$temporary/stages.yaml"

# The image of pod sandboxes and of the harness's own tests.
files=$temporary/files
mkdir "$files"
mv "$temporary/pod" "$files/pod"
../../images/pack.sh "$temporary/pod.tar" scalequest-tests/pod:1 "$(go env GOARCH)" "$files" /pod
rm -rf "$files"

chmod 755 "$temporary"
mv "$temporary" "$bin"
trap - EXIT
