{{/* The chart's name, as labels have it. */}}
{{- define "autorep.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* What all names begin with; short enough for the longest suffix and a pool's name (24). */}}
{{- define "autorep.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 31 | trimSuffix "-" -}}
{{- else if contains (include "autorep.name" .) .Release.Name -}}
{{- .Release.Name | trunc 31 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "autorep.name" .) | trunc 31 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What a selector asks for. It never changes over a release's life, so no version is in it. */}}
{{- define "autorep.selector" -}}
app.kubernetes.io/name: {{ include "autorep.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of every object: dict root, component (may be empty). */}}
{{- define "autorep.labels" -}}
{{ include "autorep.selector" .root }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/part-of: autorep
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Labels of pods: dict root, component. No version is in them: a new chart with the same pods in it must
not start every worker anew.
*/}}
{{- define "autorep.podLabels" -}}
{{ include "autorep.selector" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: autorep
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata's name, namespace and labels: dict root, name, component. */}}
{{- define "autorep.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "autorep.labels" . | nindent 2 }}
{{- end -}}

{{/* An image's reference: dict root, image, repository (where the image names none). A digest wins. */}}
{{- define "autorep.image" -}}
{{- $registry := default .root.Values.image.registry .image.registry -}}
{{- $repository := default .repository .image.repository -}}
{{- with $registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- $repository -}}
{{- if .image.digest -}}
@{{ .image.digest }}
{{- else -}}
:{{ default .root.Chart.AppVersion (default .root.Values.image.tag .image.tag) }}
{{- end -}}
{{- end -}}

{{- define "autorep.coordinatorAccount" -}}
{{- $account := .Values.coordinator.serviceAccount -}}
{{- default (ternary (printf "%s-coordinator" (include "autorep.fullname" .)) "default" $account.create) $account.name -}}
{{- end -}}

{{- define "autorep.workerAccount" -}}
{{- $account := .Values.workerServiceAccount -}}
{{- default (ternary (printf "%s-worker" (include "autorep.fullname" .)) "default" $account.create) $account.name -}}
{{- end -}}

{{/* "true" if the coordinator's API is encrypted; empty if not. */}}
{{- define "autorep.tls" -}}
{{- if or .Values.tls.existingSecret .Values.tls.certManager.enabled -}}true
{{- else if and (not .Values.coordinator.enabled) (hasPrefix "https://" .Values.coordinatorUrl) -}}true
{{- end -}}
{{- end -}}

{{/* The Secret with the coordinator's certificate. */}}
{{- define "autorep.tlsSecret" -}}
{{- default (printf "%s-tls" (include "autorep.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{/* The Secret with the certificate that clients in the cluster show. */}}
{{- define "autorep.clientSecret" -}}
{{- default (printf "%s-client-tls" (include "autorep.fullname" .)) .Values.tls.clientAuth.clientSecret -}}
{{- end -}}

{{/* Where workers, the test and the notes say that the coordinator is. */}}
{{- define "autorep.coordinatorUrl" -}}
{{- if .Values.coordinatorUrl -}}
{{- .Values.coordinatorUrl -}}
{{- else -}}
{{- $scheme := ternary "https" "http" (eq (include "autorep.tls" .) "true") -}}
{{- printf "%s://%s-coordinator.%s.svc:%d" $scheme (include "autorep.fullname" .) .Release.Namespace (int .Values.coordinator.service.port) -}}
{{- end -}}
{{- end -}}

{{/* All pools by name, each with all its values; one that was set to null is none. */}}
{{- define "autorep.pools" -}}
{{- $pools := dict -}}
{{- range $name, $own := .Values.workerPools -}}
{{- if not (kindIs "invalid" $own) -}}
{{- $_ := set $pools $name (mergeOverwrite (deepCopy $.Values.workers) $own) -}}
{{- end -}}
{{- end -}}
{{- toYaml $pools -}}
{{- end -}}

{{/* Processes that train one task in a pod of a pool. */}}
{{- define "autorep.ranks" -}}
{{- int (default (max 1 (int .gpus)) .ranks) -}}
{{- end -}}

{{/*
CPU threads of each of a pool's processes. libtorch sees all cores of the node, whatever a pod may use of
them, so without GPUs a pod's CPUs are shared out here; 0 leaves it to the worker.
*/}}
{{- define "autorep.threads" -}}
{{- $threads := int .threads -}}
{{- $resources := default dict .resources -}}
{{- $requested := get (default dict $resources.requests) "cpu" -}}
{{- with default $requested (get (default dict $resources.limits) "cpu") -}}
{{- if and (eq $threads 0) (eq (int $.gpus) 0) -}}
{{- $text := toString . -}}
{{- $cpus := ternary (div (trimSuffix "m" $text | int) 1000) (floor $text | int64) (hasSuffix "m" $text) -}}
{{- $threads = max 1 (div $cpus (include "autorep.ranks" $ | int)) -}}
{{- end -}}
{{- end -}}
{{- $threads -}}
{{- end -}}

{{/*
GPUs that the pods of a pool offer to sweeps: their ranks; none on CPUs, unless the pool says how many
processes are to stand for them.
*/}}
{{- define "autorep.offered" -}}
{{- ternary (include "autorep.ranks" .) (default 0 .ranks | toString) (gt (int .gpus) 0) -}}
{{- end -}}

{{/* The port of a URL, by its scheme if it names none; nothing for no URL. */}}
{{- define "autorep.port" -}}
{{- if . -}}
{{- $authority := index (splitList "/" (. | trimPrefix "https://" | trimPrefix "http://")) 0 -}}
{{- if regexMatch ":[0-9]+$" $authority -}}
{{- regexFind "[0-9]+$" $authority -}}
{{- else if hasPrefix "http://" . -}}80
{{- else -}}443
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The group of disruption budgets: policy/v1 from Kubernetes 1.21 on. */}}
{{- define "autorep.policyApi" -}}
{{- if and (semverCompare ">=1.21-0" .Capabilities.KubeVersion.Version) (.Capabilities.APIVersions.Has "policy/v1") -}}policy/v1
{{- else -}}policy/v1beta1
{{- end -}}
{{- end -}}

{{/*
PromQL for the pods that a pool could keep busy: workers wanted by tasks that fit its pods and those of
no smaller pool, so that two pools do not grow for one task: dict root, pool. For pools with groups,
tasks on up to eight nodes, too; `gpus` is that of all nodes together. The maximum over series of one
need counts it once while a coordinator's pod is replaced. While a coordinator serves, nothing wanted is
0; without one there is no answer, and KEDA leaves the pods that train alone.
*/}}
{{- define "autorep.wanted" -}}
{{- $most := include "autorep.offered" .pool | int -}}
{{- $least := 0 -}}
{{- range $other := include "autorep.pools" .root | fromYaml -}}
{{- $offered := include "autorep.offered" $other | int -}}
{{- if lt $offered $most -}}
{{- $least = max $least (add1 $offered) | int -}}
{{- end -}}
{{- end -}}
{{- $terms := list -}}
{{- range $nodes := untilStep 1 (ternary 9 2 .pool.groups) 1 -}}
{{- $gpus := list -}}
{{- range $each := untilStep $least (add1 $most | int) 1 -}}
{{- $gpus = append $gpus (toString (mul $each $nodes)) -}}
{{- end -}}
{{- $terms = append $terms (printf "autorep_wanted_workers{namespace=%q, nodes=\"%d\", gpus=~%q}" $.root.Release.Namespace $nodes (join "|" $gpus)) -}}
{{- end -}}
sum(max by (gpus, nodes, gpu_type, needs) ({{ join " or " $terms }})) or 0 * max(autorep_sweeps{namespace={{ .root.Release.Namespace | quote }}, state="active"})
{{- end -}}

{{/* "true" if one of the pools lets tasks be spread over pods. */}}
{{- define "autorep.groups" -}}
{{- range $pool := include "autorep.pools" . | fromYaml -}}
{{- if $pool.groups -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" if one of the pools gets data sets from elsewhere, which may be over plain HTTP. */}}
{{- define "autorep.fetches" -}}
{{- range $pool := include "autorep.pools" . | fromYaml -}}
{{- if $pool.data.fetch -}}true{{- end -}}
{{- end -}}
{{- end -}}
