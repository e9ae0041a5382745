{{- define "sluicegate.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "sluicegate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "sluicegate.name" .) .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "sluicegate.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sluicegate.selector" -}}
app.kubernetes.io/name: {{ include "sluicegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sluicegate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "sluicegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "sluicegate.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{- define "sluicegate.secret" -}}
{{ .Values.secrets.existingSecret | default (include "sluicegate.fullname" .) }}
{{- end }}

{{- /* The keys of the Secret that are used, as YAML. */ -}}
{{- define "sluicegate.keys" -}}
{{- $keys := list "auth-token" "cluster-key" -}}
{{- if .Values.secrets.existingSecret -}}
{{- $keys = .Values.secrets.keys -}}
{{- else if eq .Values.store "redis" -}}
{{- $keys = append $keys "store-url" -}}
{{- end -}}
{{- if not .Values.system.requireToken -}}
{{- $keys = without $keys "auth-token" -}}
{{- end -}}
{{ toYaml $keys }}
{{- end }}

{{- define "sluicegate.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "sluicegate.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- /* How long the kubelet waits: all that happens from the order to stop to the end, and some air. */ -}}
{{- define "sluicegate.termination" -}}
{{- with .Values.life -}}
{{- $needed := add (int .preStopSleepSeconds) (int .forceSeconds) 10 -}}
{{- if kindIs "invalid" .terminationGracePeriodSeconds -}}
{{ $needed }}
{{- else if lt (int .terminationGracePeriodSeconds) (int $needed) -}}
{{ fail (printf "life.terminationGracePeriodSeconds is %d, and the kubelet would kill what is still draining: preStopSleepSeconds + forceSeconds + 10 = %d is the least" (int .terminationGracePeriodSeconds) $needed) }}
{{- else -}}
{{ int .terminationGracePeriodSeconds }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What contradicts itself is refused here, with what to do about it. */ -}}
{{- define "sluicegate.checked" -}}
{{- $several := or .Values.autoscaling.enabled .Values.keda.enabled (eq .Values.kind "DaemonSet") (gt (int .Values.replicas) 1) -}}
{{- if and $several (eq .Values.store "memory") -}}
{{ fail "store is memory and there is more than one proxy: take mesh or redis, or replicas: 1" }}
{{- end -}}
{{- if and .Values.secrets.existingSecret (eq .Values.store "redis") (not (has "store-url" .Values.secrets.keys)) -}}
{{ fail "store is redis and secrets.keys has no store-url" }}
{{- end -}}
{{- if and .Values.secrets.existingSecret (eq .Values.store "mesh") (not (has "cluster-key" .Values.secrets.keys)) -}}
{{ fail "store is mesh and secrets.keys has no cluster-key: anyone who reaches the port could take part" }}
{{- end -}}
{{- if and (not .Values.secrets.existingSecret) (eq .Values.store "redis") (not .Values.secrets.storeUrl) -}}
{{ fail "store is redis: give secrets.storeUrl, or secrets.existingSecret with the key store-url" }}
{{- end -}}
{{- if and (eq .Values.kind "DaemonSet") (or .Values.autoscaling.enabled .Values.keda.enabled) -}}
{{ fail "a DaemonSet has one pod a node: autoscaling and keda are for a Deployment or a StatefulSet" }}
{{- end -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{ fail "autoscaling and keda are both enabled; keep one of them" }}
{{- end -}}
{{- $tlsPorts := include "sluicegate.tlsPorts" . | fromYaml -}}
{{- if and (not .Values.tls.secret) (or $tlsPorts .Values.tls.require) -}}
{{ fail (printf "%s: TLS needs a certificate: give tls.secret" (concat (keys $tlsPorts | sortAlpha) .Values.tls.require | join ", ")) }}
{{- end -}}
{{- if and $several (dig "acme" "names" list .Values.settings) -}}
{{ fail "settings.acme.names: each proxy would order certificates for itself, and the challenge of one may reach another: let cert-manager order one, and give tls.secret" }}
{{- end -}}
{{- if le (int .Values.life.forceSeconds) (int .Values.life.graceSeconds) -}}
{{ fail "life.forceSeconds must be more than life.graceSeconds, or no session would be ended in peace" }}
{{- end -}}
{{- range $section, $keys := .Values.settings -}}
{{- range $key, $value := $keys -}}
{{- $full := printf "%s.%s" $section $key -}}
{{- if or (eq $key "listen") (eq $key "tls_listen") (eq $key "tokens") (eq $full "tls.certificate") (eq $full "tls.key") (hasPrefix "store.t" $full) (hasPrefix "store.u" $full) (hasPrefix "mesh." $full) (hasPrefix "cluster." $full) (hasPrefix "shutdown." $full) (hasPrefix "system.a" $full) -}}
{{- if not (has $full (list "system.allow_special_addresses")) -}}
{{ fail (printf "settings.%s is what the chart decides: see ports, store, secrets, tokens, tls and life" $full) }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.keda.enabled -}}
{{- $_ := required "keda.query: a query whose value is divided by keda.threshold, sum(sluicegate_sessions) for example" .Values.keda.query -}}
{{- end -}}
{{- end }}

{{- /* A value as TOML has it. JSON's strings, numbers and flags are TOML's. */ -}}
{{- define "sluicegate.value" -}}
{{- if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s = %s" $key (include "sluicegate.value" $value)) -}}
{{- end -}}
{ {{ join ", " $pairs }} }
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}
{{- $items = append $items (include "sluicegate.value" .) -}}
{{- end -}}
[{{ join ", " $items }}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{- /* The settings file. Its lists are read again while sessions go on. */ -}}
{{- define "sluicegate.toml" -}}
{{- range $section, $keys := .Values.settings }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ include "sluicegate.value" $value }}
{{- end }}
{{ end -}}
{{- $lists := dict "access" .Values.access "check" .Values.checks "limit" .Values.limits "origin" .Values.origins -}}
{{- range $list, $entries := merge $lists (dict "source" .Values.sources "system.tokens" .Values.tokens) }}
{{- range $entries }}
[[{{ $list }}]]
{{- range $key, $value := . }}
{{ $key }} = {{ include "sluicegate.value" $value }}
{{- end }}
{{ end -}}
{{- end }}
{{- end }}

{{- /* The ports of TLS alone that are open, as YAML: the name, and whose they are. */ -}}
{{- define "sluicegate.tlsPorts" -}}
{{- range $name, $listener := dict "rtmps" "rtmp" "https" "http" "apis" "api" "rtsps" "rtsp" }}
{{- if index $.Values.ports $name }}
{{ $name }}: {{ $listener }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What the chart decides. The environment counts before the file. */ -}}
{{- define "sluicegate.environment" -}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
# For kubectl exec POD -- /sluicegate ps.
- name: SLUICEGATE_URL
  value: http://127.0.0.1:{{ .Values.ports.system }}
{{- range $name := list "rtmp" "http" "api" "rtsp" "rtc" "srt" "system" }}
- name: SLUICEGATE_{{ upper $name }}__LISTEN
  value: {{ index $.Values.ports $name | default (index (dict "rtmp" 1935 "http" 8080 "api" 1985 "rtsp" 8554 "rtc" 8000 "srt" 10080) $name) | toString | quote }}
{{- end }}
{{- range $name, $listener := include "sluicegate.tlsPorts" . | fromYaml }}
- name: SLUICEGATE_{{ upper $listener }}__TLS_LISTEN
  value: {{ index $.Values.ports $name | toString | quote }}
{{- end }}
{{- range .Values.tls.require }}
- name: SLUICEGATE_{{ upper . }}__REQUIRE_TLS
  value: "true"
{{- end }}
{{- if .Values.tls.secret }}
- name: SLUICEGATE_TLS__CERTIFICATE
  value: /run/tls/tls.crt
- name: SLUICEGATE_TLS__KEY
  value: /run/tls/tls.key
{{- end }}
{{- with .Values.ports.console }}
- name: SLUICEGATE_CONSOLE__LISTEN
  value: {{ . | toString | quote }}
{{- end }}
- name: SLUICEGATE_SYSTEM__ADVERTISE
  value: "$(POD_IP):{{ .Values.ports.system }}"
- name: SLUICEGATE_STORE__TYPE
  value: {{ .Values.store }}
{{- if eq .Values.store "mesh" }}
- name: SLUICEGATE_MESH__LISTEN
  value: "0.0.0.0:{{ .Values.ports.mesh }}"
- name: SLUICEGATE_MESH__ADVERTISE
  value: "$(POD_IP)"
- name: SLUICEGATE_MESH__SEEDS
  value: {{ include "sluicegate.fullname" . }}-mesh.{{ .Release.Namespace }}.svc
{{- end }}
{{- if .Values.webrtc.publicAddresses }}
- name: SLUICEGATE_RTC__PUBLIC_ADDRESSES
  value: {{ join "," .Values.webrtc.publicAddresses | quote }}
{{- end }}
- name: SLUICEGATE_SHUTDOWN__GRACE
  value: {{ .Values.life.graceSeconds }}s
- name: SLUICEGATE_SHUTDOWN__FORCE
  value: {{ .Values.life.forceSeconds }}s
{{- if not .Values.hostNetwork }}
# Media of RTSP goes on the RTSP connection: a Service cannot have thousands of ports.
- name: SLUICEGATE_RTSP__UDP_PORTS
  value: ""
{{- end }}
{{- range $key := include "sluicegate.keys" . | fromYamlArray }}
- name: SLUICEGATE_{{ index (dict "auth-token" "SYSTEM__AUTH_TOKEN" "cluster-key" "CLUSTER__KEY" "store-url" "STORE__URL") $key }}_FILE
  value: /run/secrets/sluicegate/{{ $key }}
{{- if eq $key "auth-token" }}
- name: SLUICEGATE_SYSTEM__AUTH_ENABLED
  value: "on"
- name: SLUICEGATE_SYSTEM__AUTH_TYPE
  value: bearer
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
