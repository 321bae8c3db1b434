{{/* A probe, which asks over HTTP unless only the secret of another knows whether that needs a password. */}}
{{- define "pushgate.probe" -}}
{{- $existing := .root.Values.webConfiguration.existingSecret | default dict -}}
{{- if and .probe.httpGet $existing.name (not $existing.exemptsHealthEndpoints) }}
tcpSocket:
  port: {{ .probe.httpGet.port }}
{{ toYaml (omit .probe "httpGet") }}
{{- else }}
{{- toYaml .probe }}
{{- end }}
{{- end }}

{{- define "pushgate.affinity" -}}
{{- $term := dict "topologyKey" .Values.podAntiAffinityTopologyKey "labelSelector" (dict "matchLabels" (include "pushgate.selectorLabels" . | fromYaml)) -}}
{{- $affinity := deepCopy .Values.affinity -}}
{{- if eq .Values.podAntiAffinity "hard" }}
{{- $_ := set $affinity "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term)) }}
{{- else if eq .Values.podAntiAffinity "soft" }}
{{- $_ := set $affinity "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $term))) }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "pushgate.args" -}}
{{- if not .Values.postgres.existingSecret.name }}
- --persistence.file={{ .Values.persistentVolume.mountPath }}/pushgate.db
{{- end }}
{{- if .Values.webConfiguration }}
- --web.config.file=/etc/pushgate/web-config.yaml
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "pushgate.mounts" -}}
{{- if not .Values.postgres.existingSecret.name }}
- name: data
  mountPath: {{ .Values.persistentVolume.mountPath }}
  {{- with .Values.persistentVolume.subPath }}
  subPath: {{ . }}
  {{- end }}
{{- end }}
{{- if .Values.webConfiguration }}
- name: web-config
  mountPath: /etc/pushgate
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "pushgate.volumes" -}}
{{- $volume := .Values.persistentVolume -}}
{{- if and $volume.enabled (or $volume.existingClaim (not .Values.runAsStatefulSet)) }}
- name: data
  persistentVolumeClaim:
    claimName: {{ $volume.existingClaim | default (include "pushgate.fullname" .) }}
{{- else if not (or $volume.enabled .Values.postgres.existingSecret.name) }}
- name: data
  emptyDir:
    {{- toYaml $volume.emptyDir | nindent 4 }}
{{- end }}
{{- with include "pushgate.webSecret" . }}
- name: web-config
  secret:
    secretName: {{ . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "pushgate.pod" -}}
{{- $postgres := .Values.postgres.existingSecret -}}
serviceAccountName: {{ include "pushgate.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.automountServiceAccountToken }}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- range $field := list "priorityClassName" "hostAliases" "nodeSelector" "tolerations" "topologySpreadConstraints" "securityContext" }}
{{- with get $.Values $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.global.imagePullSecrets | default .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- include "pushgate.affinity" . }}
{{- with .Values.extraInitContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: pushgateway
    image: {{ include "pushgate.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    {{- with include "pushgate.args" . | trim }}
    args:
      {{- . | nindent 6 }}
    {{- end }}
    {{- if or $postgres.name .Values.extraVars }}
    env:
      {{- if $postgres.name }}
      - name: PUSHGATE_PERSISTENCE_URL
        valueFrom:
          secretKeyRef:
            name: {{ $postgres.name }}
            key: {{ $postgres.key }}
      {{- end }}
      {{- with .Values.extraVars }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- end }}
    ports:
      - name: metrics
        containerPort: {{ .Values.service.targetPort }}
    {{- range $name := list "startup" "liveness" "readiness" }}
    {{- with get $.Values $name }}
    {{- if .enabled }}
    {{ $name }}Probe:
      {{- include "pushgate.probe" (dict "root" $ "probe" .probe) | trim | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- end }}
    {{- if .Values.lifecycle }}
    lifecycle:
      {{- toYaml .Values.lifecycle | nindent 6 }}
    {{- else if $postgres.name }}
    lifecycle:
      preStop:
        exec:
          command: [sleep, "5"]
    {{- end }}
    {{- with .Values.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.containerSecurityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with include "pushgate.mounts" . | trim }}
    volumeMounts:
      {{- . | nindent 6 }}
    {{- end }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "pushgate.volumes" . | trim }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
