{{- define "autorep.metricsIngress" -}}
{{- with .Values.networkPolicy.metricsFrom }}
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    - port: 9464
      protocol: TCP
{{- end }}
{{- end -}}

{{/* Name servers lie in other namespaces, or on the node itself, so anywhere. */}}
{{- define "autorep.dnsEgress" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - port: {{ int . }}
      protocol: UDP
    - port: {{ int . }}
      protocol: TCP
    {{- end }}
{{- end -}}

{{/* To the release's coordinator, or to one elsewhere at the port of its URL. */}}
{{- define "autorep.coordinatorEgress" -}}
{{- if .Values.coordinator.enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "autorep.selector" . | nindent 10 }}
          app.kubernetes.io/component: coordinator
  ports:
    - port: 7070
      protocol: TCP
{{- end }}
{{- with include "autorep.port" .Values.coordinatorUrl }}
- ports:
    - port: {{ int . }}
      protocol: TCP
{{- end }}
{{- end -}}

{{/* Name servers, the store and what the values add: dict root, ports. */}}
{{- define "autorep.commonEgress" -}}
{{ include "autorep.dnsEgress" .root }}
- ports:
    {{- range .ports }}
    - port: {{ int . }}
      protocol: TCP
    {{- end }}
  {{- with .root.Values.networkPolicy.storePeers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- with .root.Values.store }}
{{- if not (or .existingSecret .credentialsSecret .webIdentity.roleArn) }}
# The node gives the store's keys, or an agent on it: EC2's metadata service, EKS's pod identity.
- to:
    {{- range list "169.254.169.254/32" "169.254.170.23/32" "fd00:ec2::254/128" "fd00:ec2::23/128" }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
  ports:
    - port: 80
      protocol: TCP
{{- end }}
{{- end }}
{{- with .root.Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* "true" if `helm test` has something to test: who answers, and who works on data that they have. */}}
{{- define "autorep.tested" -}}
{{- if and .Values.test.enabled .Values.coordinator.enabled -}}
{{- $able := false -}}
{{- range $pool := include "autorep.pools" . | fromYaml -}}
{{- $able = or $able $.Values.test.manifest (not $pool.data.url) -}}
{{- end -}}
{{- if $able -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* The manifest that `helm test` sends. */}}
{{- define "autorep.testManifest" -}}
{{- if .Values.test.manifest -}}
{{- .Values.test.manifest | trim -}}
{{- else -}}
apiVersion: autorep/v1
kind: Sweep
metadata:
  name: helm-test
spec:
  data:
    name: fashion-mnist
    train_limit: 1000
    validation: 500
  net:
    name: resnet9
    width: 4
  budgets: [50%]
  seeds: [0]
  baseline:
    epochs: 1
  replace:
    epochs: 1
  finetune:
    epochs: 1
{{- end -}}
{{- end -}}
