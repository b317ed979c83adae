#!/usr/bin/env bash
# Writes go.mod and go.sum anew for other versions. Run it only to change a version below; commit what it writes.
#
# usage: tests/kubernetes/bump.sh
set -euo pipefail
cd "$(dirname "$0")"

KUBERNETES=v1.36.3
KWOK=v0.8.0
HELM=v4.3.1

export GOFLAGS=-mod=mod GOTOOLCHAIN=local
rm -f go.mod go.sum
go mod init scalequest.dev/tests/kubernetes

upstream=$(go mod download -json "k8s.io/kubernetes@$KUBERNETES" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
go mod edit "-go=$(sed -n 's/^go //p' "$upstream")" "-require=k8s.io/kubernetes@$KUBERNETES"
godebug=$(sed -n 's/^godebug //p' "$upstream")
[ -z "$godebug" ] || go mod edit "-godebug=$godebug"

# Upstream takes these modules from folders of its own tree; outside of it they have tags of their own.
sed -n 's#^\s*\(k8s.io/[a-z-]*\) => ./staging.*#\1#p' "$upstream" | while read -r module; do
    go mod edit "-replace=$module=$module@v0.${KUBERNETES#v1.}"
done

# Without a version `go get` would move k8s.io/kubernetes to the latest.
for program in kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do
    go get -tool "k8s.io/kubernetes/cmd/$program@$KUBERNETES"
done
go get -tool "go.etcd.io/etcd/server/v3@$(sed -n 's#.*go.etcd.io/etcd/client/v3 ##p' "$upstream" | head -1)"
go get -tool "sigs.k8s.io/kwok/cmd/kwok@$KWOK"
go get -tool "helm.sh/helm/v4/cmd/helm@$HELM"
go mod tidy -e
