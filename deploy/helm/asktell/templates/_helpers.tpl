{{- define "asktell.labels" -}}
app.kubernetes.io/name: asktell
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "asktell.secretEnv" -}}
- name: ASKTELL_DATABASE
  valueFrom: { secretKeyRef: { name: {{ .Values.existingSecret }}, key: database } }
- name: ASKTELL_REDIS
  valueFrom: { secretKeyRef: { name: {{ .Values.existingSecret }}, key: redis } }
{{- end }}

{{- define "asktell.rayEnv" -}}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom: { secretKeyRef: { name: {{ .Values.existingSecret }}, key: ray-token } }
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
- name: OMP_NUM_THREADS
  value: "1"
{{- end }}

{{- define "asktell.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "asktell.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: ["ALL"] }
{{- end }}

{{- define "asktell.llmEnv" -}}
{{- range $name, $value := .Values.llm.env }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end }}
