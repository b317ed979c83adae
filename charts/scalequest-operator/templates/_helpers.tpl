{{/* The base of every object's name. */}}
{{- define "scalequest.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels by which the operator's pods are selected; they never change. */}}
{{- define "scalequest.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of every object. */}}
{{- define "scalequest.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: scalequest
{{ include "scalequest.selector" . }}
{{- end -}}

{{- define "scalequest.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "scalequest.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name names the account to use where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* An image's reference, from a list of the image's values and the chart's appVersion. */}}
{{- define "scalequest.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What the operator may do in the namespaces that it watches. Each rule is one that the operator uses. */}}
{{- define "scalequest.rules" -}}
- apiGroups: [scalequest.dev]
  resources: [synthesisruns]
  verbs: [list, watch, delete]
- apiGroups: [scalequest.dev]
  resources: [synthesisruns/status]
  verbs: [patch]
- apiGroups: [scalequest.dev]
  resources: [synthesisruns/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch, create, update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
# Pods are created in dry runs only: whether the cluster would admit those of a run.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, create]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.kueue.workloads }}
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
{{- end }}
{{- end -}}
