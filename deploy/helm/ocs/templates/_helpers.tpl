{{- define "ocs.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "ocs.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "ocs.name" .) .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (include "ocs.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "ocs.selector" -}}
app.kubernetes.io/name: {{ include "ocs.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ocs.labels" -}}
{{ include "ocs.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ocs.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "ocs.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* A value as TOML. Strings, numbers and booleans are written as in JSON; maps become inline tables. */ -}}
{{- define "ocs.toml.value" -}}
{{- if kindIs "map" . }}{
{{- $first := true }}
{{- range $name, $value := . }}
{{- if not $first }}, {{ end }}{{ $first = false }}{{ toJson $name }} = {{ include "ocs.toml.value" $value }}
{{- end }}}
{{- else if kindIs "slice" . }}[
{{- range $place, $value := . }}{{ if $place }}, {{ end }}{{ include "ocs.toml.value" $value }}{{ end }}]
{{- else }}{{ toJson . }}
{{- end }}
{{- end }}

{{- /* ocs.toml: what the values say, and over it what follows from the pod. */ -}}
{{- define "ocs.toml" -}}
{{- $grpc := dict "listen" (printf "127.0.0.1:%d" (int .Values.grpc.port)) }}
{{- if .Values.tls.enabled }}
{{- $grpc = dict "listen" (printf "0.0.0.0:%d" (int .Values.grpc.port)) "tls_certificate" "/etc/ocs/tls/tls.crt" "tls_key" "/etc/ocs/tls/tls.key" }}
{{- if .Values.tls.clientCaSecretName }}{{ $_ := set $grpc "client_ca" "/etc/ocs/client-ca/ca.crt" }}{{ end }}
{{- end }}
{{- $own := dict
  "data" (dict "folder" "/var/lib/ocs/data")
  "gy" (dict "listen" (list (printf "0.0.0.0:%d" (int .Values.gy.port))))
  "grpc" $grpc
  "metrics" (dict "listen" (printf "0.0.0.0:%d" (int .Values.metrics.port))) }}
{{- range $section, $members := mergeOverwrite (deepCopy .Values.config) $own }}
[{{ $section }}]
{{- range $name, $value := $members }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }} = {{ include "ocs.toml.value" $value }}
{{- end }}
{{- end }}
{{ end }}
{{- end }}
