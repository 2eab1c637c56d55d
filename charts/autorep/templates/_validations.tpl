{{/*
What the schema cannot say: rules over several values. Every problem is told at once, each as what
was expected, what was found, and what to do.
*/}}
{{- define "autorep.validate" -}}
{{- $problems := include "autorep.problems" . | trim -}}
{{- if $problems -}}
{{- fail (printf "\n\nthe chart's values cannot be installed:\n%s\n" $problems) -}}
{{- end -}}
{{- end -}}

{{- define "autorep.problems" -}}
{{- include "autorep.problemsOfStore" . -}}
{{- include "autorep.problemsOfTls" . -}}
{{- include "autorep.problemsOfAuth" . -}}
{{- include "autorep.problemsOfCoordinator" . -}}
{{- include "autorep.problemsOfApis" . -}}
{{- range $name, $pool := include "autorep.pools" . | fromYaml -}}
{{- include "autorep.problemsOfPool" (dict "root" $ "name" $name "pool" $pool) -}}
{{- end -}}
{{- include "autorep.problemsOfTest" . -}}
{{- end -}}

{{- define "autorep.problemsOfStore" -}}
{{- with .Values.store -}}
{{- if not (regexMatch "^s3a?://[^/]+" .url) }}
- store.url: expected s3://BUCKET/PREFIX, found {{ .url | quote }}: name a bucket that creates objects only once (docs/operations.md), and a prefix for this installation
{{- end }}
{{- if and (hasPrefix "http://" .endpoint) (not .allowHttp) }}
- store.endpoint: expected https://, found {{ .endpoint | quote }}: set store.allowHttp: true if keys and data may cross the network in the clear
{{- end }}
{{- $ways := list .existingSecret .credentialsSecret .webIdentity.roleArn | compact }}
{{- if gt (len $ways) 1 }}
- store: expected one of existingSecret, credentialsSecret and webIdentity.roleArn, found {{ len $ways }}: leave the others empty
{{- end }}
{{- range $key, $value := .env }}
{{- if regexMatch "(SECRET|TOKEN|PASSWORD|ACCESS_KEY_ID|CUSTOMER_KEY)" (upper $key) }}
{{- if not (hasSuffix "_FILE" (upper $key)) }}
- store.env.{{ $key }}: expected no secret, found a name of one: values are kept in a ConfigMap; put it into a Secret and name that in store.existingSecret or in extraEnv
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- include "autorep.problemsOfStoreEnv" . -}}
{{- end -}}

{{/* Twice the same name in one map is refused by the API server, which names no value. */}}
{{- define "autorep.problemsOfStoreEnv" -}}
{{- $store := .Values.store -}}
{{- $telemetry := .Values.telemetry -}}
{{- $said := list
  (list "store.url" $store.url "AUTOREP_STORE")
  (list "telemetry.logFilter" $telemetry.logFilter "AUTOREP_LOG")
  (list "telemetry.logFormat" $telemetry.logFormat "AUTOREP_LOG_FORMAT")
  (list "telemetry.otlpEndpoint" $telemetry.otlpEndpoint "OTEL_EXPORTER_OTLP_ENDPOINT")
  (list "telemetry.otlpHeadersSecret" $telemetry.otlpHeadersSecret "OTEL_EXPORTER_OTLP_HEADERS")
  (list "store.region" $store.region "AWS_REGION AWS_DEFAULT_REGION")
  (list "store.endpoint" $store.endpoint "AWS_ENDPOINT AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3")
  (list "store.allowHttp" $store.allowHttp "AWS_ALLOW_HTTP")
  (list "store.virtualHostedStyle" $store.virtualHostedStyle "AWS_VIRTUAL_HOSTED_STYLE_REQUEST")
  (list "store.credentialsSecret" $store.credentialsSecret "AWS_SHARED_CREDENTIALS_FILE")
  (list "store.caConfigMap" $store.caConfigMap "AWS_CA_BUNDLE")
  (list "store.webIdentity.roleArn" $store.webIdentity.roleArn "AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE") -}}
{{- range $said -}}
{{- $value := index . 0 -}}
{{- if index . 1 -}}
{{- range splitList " " (index . 2) -}}
{{- if hasKey $store.env . }}
- store.env.{{ . }}: expected a variable that no other value stands for, found {{ $value }} set, too: keep one of the two
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "autorep.problemsOfTls" -}}
{{- $tls := .Values.tls -}}
{{- $ours := or $tls.existingSecret $tls.certManager.enabled -}}
{{- if and $tls.existingSecret $tls.certManager.enabled }}
- tls: expected one certificate, found tls.existingSecret and tls.certManager.enabled: keep one
{{- end }}
{{- if and .Values.coordinator.enabled (not $ours) (not .Values.insecure) }}
- tls: expected a certificate for the coordinator, found none: set tls.existingSecret or tls.certManager.enabled: true; or insecure: true if nobody else's machines reach the port
{{- end }}
{{- if and .Values.coordinator.enabled $tls.certManager.enabled (not $tls.certManager.serviceNames) (not .Values.coordinatorUrl) }}
- coordinatorUrl: expected a name that is in the certificate, found none: with tls.certManager.serviceNames: false workers cannot use the service's
{{- end }}
{{- if $tls.clientAuth.enabled }}
{{- if not (include "autorep.tls" .) }}
- tls.clientAuth: expected TLS below mutual TLS, found none: set tls.existingSecret or tls.certManager.enabled: true
{{- end }}
{{- if and (not $tls.certManager.enabled) (not $tls.clientAuth.clientSecret) }}
- tls.clientAuth.clientSecret: expected a Secret with the certificate that workers show, found none: name one, or let cert-manager make it
{{- end }}
{{- if and $tls.systemRoots (not $tls.clientAuth.caSecret) .Values.coordinator.enabled }}
- tls.clientAuth.caSecret: expected the authority of clients' certificates, found none: a public authority's Secret has no ca.crt that would do
{{- end }}
{{- end }}
{{- if and (not .Values.coordinator.enabled) (include "autorep.tls" .) (not $tls.systemRoots) (not $tls.existingSecret) }}
- tls.existingSecret: expected a Secret with ca.crt, the authority of the coordinator at coordinatorUrl, found none: name one, or set tls.systemRoots: true
{{- end }}
{{- end -}}

{{- define "autorep.problemsOfAuth" -}}
{{- $auth := .Values.auth -}}
{{- if and .Values.coordinator.enabled (not $auth.existingSecret) (not .Values.insecure) }}
{{- if .Values.tls.clientAuth.enabled }}
- auth.existingSecret: expected a Secret with the tokens' list beside mutual TLS, found none: certificates say who may connect, tokens who may do what; make tokens with `autorep token new` and name the Secret, or set insecure: true if whoever has a certificate may do everything
{{- else }}
- auth.existingSecret: expected a Secret with the tokens' list, found none: make tokens with `autorep token new` and name the Secret; or set insecure: true if whoever reaches the port may do everything
{{- end }}
{{- end }}
{{- if and (or $auth.existingSecret $auth.workerSecret) (not (include "autorep.tls" .)) (not .Values.insecure) }}
- auth: expected TLS where tokens are used, found none: whoever listens on the network would read them; set insecure: true if nobody else can
{{- end }}
{{- end -}}

{{- define "autorep.problemsOfCoordinator" -}}
{{- $it := .Values.coordinator -}}
{{- if and (not $it.enabled) (not (regexMatch "^https?://[^/]+$" .Values.coordinatorUrl)) }}
- coordinatorUrl: expected https://HOST:7070 of a coordinator elsewhere, found {{ .Values.coordinatorUrl | quote }}: with coordinator.enabled: false workers need one
{{- end }}
{{- if and (not $it.enabled) (not (include "autorep.pools" . | fromYaml)) }}
- workerPools: expected a coordinator or workers, found neither: set coordinator.enabled: true or add a pool
{{- end }}
{{- if and $it.standby $it.podDisruptionBudget.enabled }}
- coordinator.podDisruptionBudget: expected none with coordinator.standby, found it enabled: the one that waits is never ready, so no node with the other could ever be drained
{{- end }}
{{- if and $it.enabled (ne $it.service.type "ClusterIP") .Values.networkPolicy.enabled (not .Values.networkPolicy.clients) }}
- networkPolicy.clients: expected who may connect from outside, found nobody although coordinator.service.type is {{ $it.service.type }}: add peers such as {ipBlock: {cidr: 10.0.0.0/8}}
{{- end }}
{{- with $it.service }}
{{- if and .externalTrafficPolicy (eq .type "ClusterIP") }}
- coordinator.service.externalTrafficPolicy: expected a service that is reached from outside, found ClusterIP: set coordinator.service.type to NodePort or LoadBalancer, or leave this empty
{{- end }}
{{- if and .loadBalancerClass (ne .type "LoadBalancer") }}
- coordinator.service.loadBalancerClass: expected a load balancer, found {{ .type }}: set coordinator.service.type: LoadBalancer, or leave this empty
{{- end }}
{{- if and .loadBalancerClass (semverCompare "<1.22-0" $.Capabilities.KubeVersion.Version) }}
- coordinator.service.loadBalancerClass: expected none on Kubernetes {{ $.Capabilities.KubeVersion.Version }}, found {{ .loadBalancerClass | quote }}: classes of load balancers need 1.22
{{- end }}
{{- end }}
{{- end -}}

{{/* Kinds that others define: found out here, because the cluster's own refusal names no value. */}}
{{- define "autorep.problemsOfApis" -}}
{{- $wanted := list
  (list .Values.monitoring.serviceMonitor.enabled "monitoring.coreos.com/v1" "monitoring.serviceMonitor.enabled" "the Prometheus Operator")
  (list .Values.monitoring.podMonitor.enabled "monitoring.coreos.com/v1" "monitoring.podMonitor.enabled" "the Prometheus Operator")
  (list .Values.monitoring.prometheusRule.enabled "monitoring.coreos.com/v1" "monitoring.prometheusRule.enabled" "the Prometheus Operator")
  (list .Values.tls.certManager.enabled "cert-manager.io/v1" "tls.certManager.enabled" "cert-manager") -}}
{{- range $name, $pool := include "autorep.pools" . | fromYaml -}}
{{- $wanted = append $wanted (list $pool.autoscaling.enabled "keda.sh/v1alpha1" (printf "workerPools.%s.autoscaling.enabled" $name) "KEDA") -}}
{{- end -}}
{{- range $wanted -}}
{{- if and (index . 0) (not ($.Capabilities.APIVersions.Has (index . 1))) }}
- {{ index . 2 }}: expected a cluster that offers {{ index . 1 }}, found none: install {{ index . 3 }} first or set it to false (without a cluster: helm template --api-versions {{ index . 1 }})
{{- end }}
{{- end -}}
{{- with .Values.externalSecrets -}}
{{- if .secrets }}
{{- if not (or ($.Capabilities.APIVersions.Has "external-secrets.io/v1") ($.Capabilities.APIVersions.Has "external-secrets.io/v1beta1")) }}
- externalSecrets.secrets: expected a cluster that offers external-secrets.io/v1, found none: install external-secrets first or leave it empty (without a cluster: helm template --api-versions external-secrets.io/v1)
{{- end }}
{{- if not .secretStoreRef.name }}
- externalSecrets.secretStoreRef.name: expected the store that holds the secrets, found none: name a SecretStore or ClusterSecretStore
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* dict root, name, pool (with all its values). */}}
{{- define "autorep.problemsOfPool" -}}
{{- $at := printf "workerPools.%s" .name -}}
{{- $pool := .pool -}}
{{- $gpus := int $pool.gpus -}}
{{- if and (gt $gpus 0) (gt (include "autorep.ranks" $pool | int) $gpus) }}
- {{ $at }}.ranks: expected at most {{ $gpus }}, one for each GPU, found {{ include "autorep.ranks" $pool }}
{{- end }}
{{- if and (gt $gpus 0) (hasSuffix "-cpu" $pool.image.repository) }}
- {{ $at }}.image.repository: expected an image for GPUs with gpus: {{ $gpus }}, found {{ $pool.image.repository | quote }}: name one, leave it empty for autorep-worker, or set gpus: 0
{{- end }}
{{- $places := list $pool.data.url $pool.data.existingClaim $pool.data.hostPath (ternary "volume" "" (not (empty $pool.data.volume))) | compact }}
{{- if gt (len $places) 1 }}
- {{ $at }}.data: expected one of url, existingClaim, hostPath and volume, found {{ len $places }}: keep one
{{- end }}
{{- if and (not $places) (not $pool.data.fetch) }}
- {{ $at }}.data: expected a place with data sets, found none: set url, existingClaim, hostPath or volume, or name in fetch what workers shall get
{{- end }}
{{- if and $pool.data.fetch $places (not $pool.data.existingClaim) }}
- {{ $at }}.data.fetch: expected a claim or an empty folder to fetch into, found url, hostPath or volume: put the data there yourself (docs/data.md)
{{- end }}
{{- if and $pool.data.url (not (regexMatch "^(s3|gs|az)://[^/]+" $pool.data.url)) }}
- {{ $at }}.data.url: expected s3://BUCKET/PREFIX, gs://… or az://…, found {{ $pool.data.url | quote }}
{{- end }}
{{- if and (eq $pool.scratch.type "ephemeral") (semverCompare "<1.21-0" .root.Capabilities.KubeVersion.Version) }}
- {{ $at }}.scratch.type: expected emptyDir, found ephemeral on Kubernetes {{ .root.Capabilities.KubeVersion.Version }}: such volumes need 1.21
{{- end }}
{{- with $pool.autoscaling }}
{{- if .enabled }}
{{- if not (regexMatch "^https?://[^/]+" .prometheusUrl) }}
- {{ $at }}.autoscaling.prometheusUrl: expected the URL of the Prometheus that scrapes the coordinator, found {{ .prometheusUrl | quote }}
{{- end }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
- {{ $at }}.autoscaling.minReplicas: expected at most maxReplicas, which is {{ int .maxReplicas }}, found {{ int .minReplicas }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "autorep.problemsOfTest" -}}
{{- if .Values.test.manifest -}}
{{- if not (dig "metadata" "name" "" (.Values.test.manifest | fromYaml)) }}
- test.manifest: expected a sweep with metadata.name, found none: see docs/manifest.md
{{- end }}
{{- end -}}
{{- end -}}
