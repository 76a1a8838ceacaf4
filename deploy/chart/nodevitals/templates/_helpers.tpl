{{- define "nodevitals.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "nodevitals.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "nodevitals.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "nodevitals.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "nodevitals.serviceAccount" -}}
{{- default (include "nodevitals.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "nodevitals.selector" -}}
app.kubernetes.io/name: {{ include "nodevitals.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "nodevitals.labels" -}}
{{ include "nodevitals.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "nodevitals.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- /* The configuration file: the user's, with the paths that the mounts below give. */ -}}
{{- define "nodevitals.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not (hasKey $config "listen") -}}
{{- $_ := set $config "listen" (printf "%s:%v" .Values.address .Values.port) -}}
{{- end -}}
{{- if not .Values.access.netAdmin -}}
{{- /* Without the capability this probe could only say that it cannot tell. */ -}}
{{- $config = mergeOverwrite (dict "probes" (dict "forwardpolicy" (dict "enabled" false))) $config -}}
{{- end -}}
{{- if .Values.npdConfigs -}}
{{- $npd := default (dict) $config.npd -}}
{{- $files := default (list) $npd.configs -}}
{{- range $name, $_ := .Values.npdConfigs -}}
{{- $files = append $files (printf "/etc/nodevitals/npd/%s" $name) -}}
{{- end -}}
{{- $_ := set $npd "configs" $files -}}
{{- $_ := set $config "npd" $npd -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* The ConfigMap's data, and as which files they are mounted. */ -}}
{{- define "nodevitals.data" -}}
config.yaml: |
  {{- include "nodevitals.config" . | nindent 2 }}
{{- range $name, $text := .Values.npdConfigs }}
npd-{{ $name }}: |
  {{- $text | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "nodevitals.files" -}}
- {key: config.yaml, path: config.yaml}
{{- range $name, $_ := .Values.npdConfigs }}
- {key: npd-{{ $name }}, path: npd/{{ $name }}}
{{- end }}
{{- end -}}
