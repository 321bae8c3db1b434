{{- define "pushgate.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of every object: that of the release, with the chart's unless it has it already. */}}
{{- define "pushgate.fullname" -}}
{{- $name := include "pushgate.name" . -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{ .Values.fullnameOverride | default $both | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "pushgate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pushgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pushgate.labels" -}}
{{ include "pushgate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* metadata of an object whose name is that of the release. */}}
{{- define "pushgate.metadata" -}}
name: {{ include "pushgate.fullname" . }}
namespace: {{ .Values.namespaceOverride | default .Release.Namespace }}
labels:
  {{- include "pushgate.labels" . | nindent 2 }}
{{- end }}

{{- define "pushgate.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "pushgate.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "pushgate.image" -}}
{{- $registry := .Values.global.imageRegistry | default .Values.image.registry -}}
{{ with $registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The secret that has the web configuration; empty without one. */}}
{{- define "pushgate.webSecret" -}}
{{- with .Values.webConfiguration -}}
{{ (.existingSecret | default dict).name | default (include "pushgate.fullname" $) }}
{{- end }}
{{- end }}

{{/* What cannot work is refused before anything is installed. */}}
{{- define "pushgate.validate" -}}
{{- $postgres := .Values.postgres.existingSecret.name -}}
{{- if and (gt (int .Values.replicaCount) 1) (not $postgres) }}
{{- fail (printf "replicaCount is %v, but more than one replica needs a database: set postgres.existingSecret.name to a secret with the URL of a PostgreSQL, or replicaCount to 1" .Values.replicaCount) }}
{{- end }}
{{- if and .Values.persistentVolume.enabled $postgres }}
{{- fail "postgres.existingSecret.name and persistentVolume.enabled are both set: with a database nothing is kept in a volume, so leave out one of them" }}
{{- end }}
{{- if and .Values.persistentVolume.enabled (not .Values.runAsStatefulSet) (eq (.Values.strategy.type | default "Recreate") "RollingUpdate") }}
{{- fail "strategy.type is RollingUpdate, but a new pod would wait for ever for the volume's file, which the old one holds: leave strategy out, or use postgres" }}
{{- end }}
{{- if and .Values.networkPolicy (not .Values.networkPolicy.allowAll) (not .Values.networkPolicy.customSelectors) }}
{{- fail "networkPolicy has neither allowAll nor customSelectors: set one of them" }}
{{- end }}
{{- range $user, $password := .Values.webConfiguration.basicAuthUsers }}
{{- if gt (len $password) 72 }}
{{- fail (printf "the password of %s in webConfiguration.basicAuthUsers is longer than the 72 bytes that bcrypt takes: shorten it" $user) }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.enabled needs ingress.hosts: the names under which clients push" }}
{{- end }}
{{- end }}
