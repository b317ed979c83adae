#!/usr/bin/env bash
# Runs examples/quickstart.yaml on a cluster: models and questions are put on a claim, and the same run is applied with claims in the
# place of paths. `make demo-cluster` calls it on a cluster of this machine; it is what a person would type.
#
# Needs KUBECONFIG, kubectl and the installed chart; and CLUSTER_DIRECTORY, below which the cluster of `test-cluster` keeps its volumes.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CLUSTER_DIRECTORY:?is set by test-cluster; on another cluster fill the claim from a pod}"
namespace=quickstart

kubectl create namespace $namespace
kubectl label namespace $namespace pod-security.kubernetes.io/enforce=restricted
kubectl config set-context --current --namespace=$namespace >/dev/null

kubectl apply -f - <<'CLAIM'
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 4Gi}}}
CLAIM
kubectl wait --for=jsonpath='{.status.phase}'=Bound pvc/data --timeout=60s
volume=$CLUSTER_DIRECTORY/volumes/$namespace/data
mkdir -p "$volume/models" "$volume/examples"
sed -n 's/^.*path: \(models\/[^,}]*\).*$/\1/p' examples/quickstart.yaml | sort -u | while read -r model; do
    cp -L "$model" "$volume/$model"
done
cp -r examples/seeds "$volume/examples/"
chmod -R a+rX "$volume"

sed 's#\bpath: \([^,}]*\)#claim: {name: data, subPath: \1}#' examples/quickstart.yaml | kubectl apply -f -
# A server ends every watch after half an hour or more; then it is begun again.
watch_run() {
    trap 'kill "$one" 2>/dev/null; exit' TERM
    while :; do
        kubectl get synthesisrun quickstart --watch --output wide &
        one=$!
        wait "$one" || true
    done
}
watch_run &
watch=$!
trap 'kill $watch 2>/dev/null || true' EXIT
# Complete, or ended early with what was accepted published.
until kubectl get synthesisrun quickstart \
    -o jsonpath='{range .status.conditions[*]}{.type}={.status}/{.reason} {end}' |
    grep -qE 'Complete=True|Failed=True|Progressing=False/(MaxWavesReached|BudgetExhausted)'; do
    sleep 2
done
kill $watch 2>/dev/null || true

echo
kubectl describe synthesisrun quickstart
kubectl get jobs
if [ -f "$volume/demo/dataset/manifest.json" ]; then
    rm -rf demo/cluster-dataset
    mkdir -p demo
    cp -r "$volume/demo/dataset" demo/cluster-dataset
    echo
    echo "dataset  demo/cluster-dataset            (README.md is its card)"
    echo "report   demo/cluster-dataset/report.html"
fi
