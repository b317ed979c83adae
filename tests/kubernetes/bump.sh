#!/usr/bin/env bash
# Writes go.mod and go.sum here and in oldest/, kueue/ and argo/ anew for other versions. Run it only to change a version below; commit what
# it writes.
#
# usage: tests/kubernetes/bump.sh
set -euo pipefail
cd "$(dirname "$0")"

KUBERNETES=v1.36.3
OLDEST=v1.33.13
KWOK=v0.8.0
HELM=v4.3.1
KUEUE=v0.14.0
ARGO=v3.6.5

export GOFLAGS=-mod=mod GOTOOLCHAIN=local
# kubernetes VERSION PROGRAM...: begins a module of Kubernetes' programs, with its etcd.
kubernetes() {
    local version=$1 upstream godebug program
    shift
    rm -f go.mod go.sum
    go mod init scalequest.dev/tests/kubernetes
    upstream=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
    go mod edit "-go=$(sed -n 's/^go //p' "$upstream")" "-require=k8s.io/kubernetes@$version"
    godebug=$(sed -n 's/^godebug //p' "$upstream")
    [ -z "$godebug" ] || go mod edit "-godebug=$godebug"
    # Upstream takes these modules from folders of its own tree; outside of it they have tags of their own.
    sed -n 's#^\s*\(k8s.io/[a-z-]*\) => ./staging.*#\1#p' "$upstream" | while read -r module; do
        go mod edit "-replace=$module=$module@v0.${version#v1.}"
    done
    # Without a version `go get` would move k8s.io/kubernetes to the latest.
    for program in "$@"; do
        go get -tool "k8s.io/kubernetes/cmd/$program@$version"
    done
    go get -tool "go.etcd.io/etcd/server/v3@$(sed -n 's#.*go.etcd.io/etcd/client/v3 \(v[0-9.]*\).*#\1#p' "$upstream" | head -1)"
}

# other NAME PACKAGE VERSION: a module of another controller.
other() {
    (
        cd "$1"
        rm -f go.mod go.sum
        go mod init "scalequest.dev/tests/$1"
        go mod edit "-go=$(sed -n 's/^go //p' ../go.mod)"
        go get -tool "$2@$3"
    )
}

kubernetes "$OLDEST" kube-apiserver kube-controller-manager kube-scheduler kubelet
go mod tidy -e
mv go.mod go.sum oldest/

kubernetes "$KUBERNETES" kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl
go get -tool "sigs.k8s.io/kwok/cmd/kwok@$KWOK"
go get -tool "helm.sh/helm/v4/cmd/helm@$HELM"
go mod tidy -e

other kueue sigs.k8s.io/kueue/cmd/kueue "$KUEUE"
other argo github.com/argoproj/argo-workflows/v3/cmd/workflow-controller "$ARGO"
