{{/* What the pods of coordinator, workers and test have in common. */}}

{{- define "autorep.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
The variables by which a daemon finds and enters the store. Keys come from a Secret by reference; all
else is in the ConfigMap.
*/}}
{{- define "autorep.storeEnv" -}}
{{- $store := .Values.store -}}
{{- if $store.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $store.existingSecret }}
      key: {{ $store.secretKeys.accessKeyId }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $store.existingSecret }}
      key: {{ $store.secretKeys.secretAccessKey }}
{{- with $store.secretKeys.sessionToken }}
- name: AWS_SESSION_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ $store.existingSecret }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- if $store.credentialsSecret }}
- name: AWS_SHARED_CREDENTIALS_FILE
  value: /etc/autorep/store/credentials
{{- end }}
{{- if $store.caConfigMap }}
- name: AWS_CA_BUNDLE
  value: /etc/autorep/store-ca/ca.crt
{{- end }}
{{- if $store.webIdentity.roleArn }}
- name: AWS_ROLE_ARN
  value: {{ $store.webIdentity.roleArn | quote }}
- name: AWS_WEB_IDENTITY_TOKEN_FILE
  value: /var/run/secrets/autorep/store/token
{{- end }}
{{- with .Values.telemetry.otlpHeadersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.telemetry.otlpHeadersKey }}
{{- end }}
{{- end -}}

{{/*
Files by which the store is entered: credentials, certificates, and the token of the pod's service
account that the store's provider takes for a role.
*/}}
{{- define "autorep.storeVolumes" -}}
{{- with .Values.store }}
{{- if .credentialsSecret }}
- name: store-credentials
  secret:
    secretName: {{ .credentialsSecret }}
    defaultMode: 0440
    items:
      - key: {{ .credentialsKey }}
        path: credentials
{{- end }}
{{- if .caConfigMap }}
- name: store-ca
  configMap:
    name: {{ .caConfigMap }}
    items:
      - key: {{ .caKey }}
        path: ca.crt
{{- end }}
{{- if .webIdentity.roleArn }}
- name: store-token
  projected:
    sources:
      - serviceAccountToken:
          audience: {{ .webIdentity.audience | quote }}
          expirationSeconds: {{ int .webIdentity.expirationSeconds }}
          path: token
{{- end }}
{{- end }}
{{- end -}}

{{- define "autorep.storeMounts" -}}
{{- with .Values.store }}
{{- if .credentialsSecret }}
- name: store-credentials
  mountPath: /etc/autorep/store
  readOnly: true
{{- end }}
{{- include "autorep.authorityMount" $ }}
{{- if .webIdentity.roleArn }}
- name: store-token
  mountPath: /var/run/secrets/autorep/store
  readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{/* Certificates of an authority of one's own: for the store, and for data sets that are fetched. */}}
{{- define "autorep.authorityMount" -}}
{{- if .Values.store.caConfigMap }}
- name: store-ca
  mountPath: /etc/autorep/store-ca
  readOnly: true
{{- end }}
{{- end -}}

{{/* What all daemons share and is no secret. */}}
{{- define "autorep.config" -}}
AUTOREP_STORE: {{ .Values.store.url | quote }}
{{- with .Values.telemetry.logFilter }}
AUTOREP_LOG: {{ . | quote }}
{{- end }}
AUTOREP_LOG_FORMAT: {{ .Values.telemetry.logFormat | quote }}
{{- with .Values.telemetry.otlpEndpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
{{- with .Values.store.region }}
AWS_REGION: {{ . | quote }}
{{- end }}
{{- with .Values.store.endpoint }}
AWS_ENDPOINT: {{ . | quote }}
{{- end }}
{{- if .Values.store.allowHttp }}
AWS_ALLOW_HTTP: "true"
{{- end }}
{{- if .Values.store.virtualHostedStyle }}
AWS_VIRTUAL_HOSTED_STYLE_REQUEST: "true"
{{- end }}
{{- range $name, $value := .Values.store.env }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/*
Pods start anew, at an upgrade, when what they were given in variables has changed: the ConfigMap, or
a Secret. Of a Secret only its version is taken, a number that tells nothing of what is in it; without
a cluster (`helm template`) there is none. Certificates and tokens need no restart: daemons read their
files again.
*/}}
{{- define "autorep.checksums" -}}
checksum/config: {{ include "autorep.config" . | sha256sum }}
{{- $versions := list -}}
{{- range list .Values.store.existingSecret .Values.telemetry.otlpHeadersSecret | compact -}}
{{- with lookup "v1" "Secret" $.Release.Namespace . -}}
{{- $versions = append $versions .metadata.resourceVersion -}}
{{- end -}}
{{- end -}}
{{- with $versions }}
checksum/secrets: {{ join " " . | sha256sum }}
{{- end }}
{{- end -}}

{{/* A client's way to the coordinator (workers and test): dict root, secret, key. */}}
{{- define "autorep.clientEnv" -}}
- name: AUTOREP_COORDINATOR
  value: {{ include "autorep.coordinatorUrl" .root | quote }}
{{- if include "autorep.tls" .root }}
{{- if not .root.Values.tls.systemRoots }}
- name: AUTOREP_CA
  value: /etc/autorep/ca/ca.crt
{{- end }}
{{- if .root.Values.tls.clientAuth.enabled }}
- name: AUTOREP_CLIENT_CERT
  value: /etc/autorep/client/tls.crt
- name: AUTOREP_CLIENT_KEY
  value: /etc/autorep/client/tls.key
{{- end }}
{{- end }}
{{- if .secret }}
- name: AUTOREP_TOKEN_FILE
  value: /etc/autorep/token/token
{{- if not (include "autorep.tls" .root) }}
# Only where `insecure` allows it: a client refuses to send its token in the clear.
- name: AUTOREP_PLAIN_TOKEN
  value: "true"
{{- end }}
{{- end }}
{{- end -}}

{{- define "autorep.clientVolumes" -}}
{{- if include "autorep.tls" .root }}
{{- if not .root.Values.tls.systemRoots }}
- name: ca
  secret:
    secretName: {{ include "autorep.tlsSecret" .root }}
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
{{- if .root.Values.tls.clientAuth.enabled }}
- name: client
  secret:
    secretName: {{ include "autorep.clientSecret" .root }}
    defaultMode: 0440
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
{{- end }}
{{- end }}
{{- if .secret }}
- name: token
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: token
{{- end }}
{{- end -}}

{{- define "autorep.clientMounts" -}}
{{- if include "autorep.tls" .root }}
{{- if not .root.Values.tls.systemRoots }}
- name: ca
  mountPath: /etc/autorep/ca
  readOnly: true
{{- end }}
{{- if .root.Values.tls.clientAuth.enabled }}
- name: client
  mountPath: /etc/autorep/client
  readOnly: true
{{- end }}
{{- end }}
{{- if .secret }}
- name: token
  mountPath: /etc/autorep/token
  readOnly: true
{{- end }}
{{- end -}}

{{/*
Variables of a container: dict own (YAML), extra. One of the same name takes the place of the chart's:
twice the same name is refused by the API server where Helm applies on its side.
*/}}
{{- define "autorep.env" -}}
{{- $names := list -}}
{{- range .extra }}{{ $names = append $names .name }}{{ end -}}
{{- $all := list -}}
{{- range .own | fromYamlArray -}}
{{- if not (has .name $names) }}{{ $all = append $all . }}{{ end -}}
{{- end -}}
{{- concat $all .extra | toYaml -}}
{{- end -}}

{{- define "autorep.coordinatorEnv" -}}
- name: TMPDIR
  value: /tmp
- name: HOME
  value: /tmp
{{- include "autorep.storeEnv" . }}
{{- end -}}

{{/* No key of the store and no token: data sets come from elsewhere. */}}
{{- define "autorep.fetchEnv" -}}
- name: TMPDIR
  value: /scratch
- name: HOME
  value: /tmp
{{- if .Values.store.caConfigMap }}
- name: CURL_CA_BUNDLE
  value: /etc/autorep/store-ca/ca.crt
{{- end }}
{{- end -}}

{{/* dict root, client, pool */}}
{{- define "autorep.workerEnv" -}}
{{ include "autorep.clientEnv" .client }}
# In the words of the cluster: the pod, its node, and the address that others reach.
- name: AUTOREP_WORKER
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: AUTOREP_MACHINE
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: AUTOREP_ADVERTISE
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
# The rest of the time is for storing what the trainer has written.
- name: AUTOREP_GRACE
  value: {{ printf "%ds" (div (int .pool.terminationGracePeriodSeconds) 2) | quote }}
- name: AUTOREP_SCRATCH
  value: /scratch
- name: AUTOREP_DATA
  value: {{ default "/data" .pool.data.url | quote }}
{{- if .pool.data.url }}
- name: AUTOREP_DATA_CACHE
  value: {{ .pool.data.cacheSize | quote }}
- name: AUTOREP_DATA_CACHE_FOLDER
  value: /scratch/shards
{{- end }}
# The root is read-only: what libraries keep for themselves goes to the volumes.
- name: XDG_CACHE_HOME
  value: /scratch/cache
- name: HOME
  value: /tmp
- name: TMPDIR
  value: /tmp
{{- include "autorep.storeEnv" .root }}
{{- end -}}

{{/*
A container's resources: dict resources, gpus (resource name → number, may be empty). Quantities are
made texts, as Kubernetes 1.20 wants them where Helm applies on the server's side.
*/}}
{{- define "autorep.resources" -}}
{{- $resources := deepCopy (default dict .resources) -}}
{{- if .gpus }}{{ $_ := mergeOverwrite $resources (dict "limits" .gpus) }}{{ end -}}
{{- range $kind := list "requests" "limits" -}}
{{- range $name, $quantity := default dict (get $resources $kind) -}}
{{- $_ := set (get $resources $kind) $name (toString $quantity) -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
