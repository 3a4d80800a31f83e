{{- define "sightline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "sightline.fullname" -}}
{{- $name := include "sightline.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* A component's name in this release: component or component and class. Takes (dict "root" $ "component" … "class" …). */}}
{{- define "sightline.component" -}}
{{- $name := printf "%s-%s" (include "sightline.fullname" .root) .component -}}
{{- if .class -}}{{- $name = printf "%s-%s" $name .class -}}{{- end -}}
{{- $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sightline.selector" -}}
app.kubernetes.io/name: {{ include "sightline.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- if hasKey . "class" }}
sightline/class: {{ .class | default "default" | quote }}
{{- end }}
{{- if hasKey . "pool" }}
sightline/pool: {{ .pool | quote }}
{{- end }}
{{- end -}}

{{- define "sightline.labels" -}}
{{ include "sightline.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* Takes (dict "root" $ "image" …). */}}
{{- define "sightline.image" -}}
{{- $repository := .image.repository -}}
{{- with .root.Values.image.registry -}}{{- $repository = printf "%s/%s" . $repository -}}{{- end -}}
{{- if .image.digest -}}{{ $repository }}@{{ .image.digest }}
{{- else -}}{{ $repository }}:{{ .image.tag | default .root.Chart.AppVersion }}{{- end -}}
{{- end -}}

{{/* Values that contradict each other, or lack what no pod can do without. */}}
{{- define "sightline.check" -}}
{{- $values := .Values -}}
{{- if not $values.secretKey.existingSecret -}}{{- fail "secretKey.existingSecret is empty: all api pods need the same SECRET_KEY. Create a secret with the key secret_key and name it." -}}{{- end -}}
{{- if not $values.redis.addresses -}}{{- fail "redis.addresses is empty: name a Redis outside this chart, as host:port." -}}{{- end -}}
{{- if and (eq $values.redis.mode "sentinel") (not $values.redis.sentinelMaster) -}}{{- fail "redis.sentinelMaster is empty, but redis.mode is sentinel: name the master that the Sentinels watch." -}}{{- end -}}
{{- if and (ne $values.redis.mode "sentinel") $values.redis.sentinelMaster -}}{{- fail (printf "redis.sentinelMaster=%s, but redis.mode is %s: set redis.mode to sentinel." $values.redis.sentinelMaster $values.redis.mode) -}}{{- end -}}
{{- if ne (empty $values.redis.tls.certKey) (empty $values.redis.tls.keyKey) -}}{{- fail (printf "redis.tls.certKey=%q and keyKey=%q: a client certificate needs both." $values.redis.tls.certKey $values.redis.tls.keyKey) -}}{{- end -}}
{{- if and (eq $values.redis.mode "standalone") (gt (len $values.redis.addresses) 1) -}}{{- fail (printf "redis.addresses has %d entries, but redis.mode is standalone: set redis.mode to sentinel or cluster." (len $values.redis.addresses)) -}}{{- end -}}
{{- if eq (empty $values.images.s3) (empty $values.images.existingClaim) -}}{{- fail "Set one of images.s3 and images.existingClaim: api pods and workers on other nodes must see the same images." -}}{{- end -}}
{{- if and $values.models.s3 $values.models.existingClaim -}}{{- fail "Set only one of models.s3 and models.existingClaim." -}}{{- end -}}
{{- if not (or $values.database.existingSecret $values.reports.existingClaim) -}}{{- fail "Set database.existingSecret (PostgreSQL) or reports.existingClaim: otherwise reports would be lost with their pod." -}}{{- end -}}
{{- $trainer := $values.trainer -}}
{{- if $trainer.enabled -}}
{{- if not (or $values.models.s3 $values.models.existingClaim) -}}{{- fail "trainer.enabled needs models.s3 or models.existingClaim: the bundle in the image cannot be written, and no worker would see another." -}}{{- end -}}
{{- if not (has $trainer.modelClass $values.api.modelClasses) -}}{{- fail (printf "trainer.modelClass is %q, which no api asks: add it to api.modelClasses." $trainer.modelClass) -}}{{- end -}}
{{- range $trainer.extraEnv -}}
{{- if has .name (splitList " " (include "sightline.ownEnv" $)) -}}{{- fail (printf "extraEnv: %s is set by this chart's own values." .name) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt ($values.api.hpa.minReplicas | int) ($values.api.hpa.maxReplicas | int) -}}{{- fail (printf "api.hpa.minReplicas=%v is more than maxReplicas=%v." $values.api.hpa.minReplicas $values.api.hpa.maxReplicas) -}}{{- end -}}
{{- $names := dict -}}
{{- range $values.workerPools -}}
{{- if hasKey $names .name -}}{{- fail (printf "workerPools: two are named %s." .name) -}}{{- end -}}
{{- $_ := set $names .name true -}}
{{- end -}}
{{- $classes := $values.api.modelClasses -}}
{{- range $values.workerPools -}}
{{- $pool := mergeOverwrite (deepCopy $values.workerDefaults) (deepCopy .) -}}
{{- $scaling := $pool.autoscaling -}}
{{- if not (has $pool.modelClass $classes) -}}{{- fail (printf "workerPools: %s is of modelClass %q, which no api asks: add it to api.modelClasses." .name $pool.modelClass) -}}{{- end -}}
{{- if gt ($scaling.minReplicas | int) ($scaling.maxReplicas | int) -}}{{- fail (printf "workerPools: %s has autoscaling.minReplicas=%v, more than maxReplicas=%v." .name $scaling.minReplicas $scaling.maxReplicas) -}}{{- end -}}
{{- if and (eq $scaling.kind "keda") (eq ($scaling.minReplicas | int) 0) (not $values.api.admitWithoutWorkers) -}}{{- fail (printf "workerPools: %s has autoscaling.minReplicas=0, from which nothing would wake it: set api.admitWithoutWorkers (async jobs only), or minReplicas to 1." .name) -}}{{- end -}}
{{- range $pool.extraEnv -}}
{{- if has .name (splitList " " (include "sightline.ownEnv" $)) -}}{{- fail (printf "extraEnv: %s is set by this chart's own values." .name) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- range concat $values.extraEnv $values.api.extraEnv -}}
{{- if has .name (splitList " " (include "sightline.ownEnv" $)) -}}{{- fail (printf "extraEnv: %s is set by this chart's own values." .name) -}}{{- end -}}
{{- end -}}
{{- range $class, $path := $values.api.scriptNames -}}
{{- if not (has (ternary "" $class (eq $class "default")) $classes) -}}{{- fail (printf "api.scriptNames names modelClass %q: add it to api.modelClasses." $class) -}}{{- end -}}
{{- end -}}
{{- range concat $values.ingress.hosts $values.httpRoute.rules -}}
{{- if not (has (.modelClass | default "") $classes) -}}{{- fail (printf "A route names modelClass %q: add it to api.modelClasses." .modelClass) -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* What this chart sets: a list of variables with a name twice is refused by the server. */}}
{{- define "sightline.ownEnv" -}}
REDIS_URL REDIS_IP REDIS_PORT REDIS_DB_ID REDIS_SOCKET REDIS_QUEUE REDIS_USERNAME REDIS_PASSWORD REDIS_SENTINEL_USERNAME REDIS_SENTINEL_PASSWORD MODEL_CLASS LOG_LEVEL LOG_FORMAT IMAGE_STORE MODEL_STORE S3_TIMEOUT_S S3_ENDPOINT S3_REGION S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY REQUEST_TIMEOUT_S TRUSTED_PROXIES SCRIPT_NAME ADMIT_WITHOUT_WORKERS UPLOAD_FOLDER FEEDBACK_FILEPATH SECRET_KEY OPERATOR_KEY API_KEYS_FILE DATABASE_URL METRICS_HOST METRICS_PORT MAX_BATCH_S BUNDLES_FOLDER COMPILED_CACHE
{{- end -}}

{{/* Ports that pods must reach, as JSON. */}}
{{- define "sightline.redisPorts" -}}
{{- $ports := list -}}
{{- range .Values.redis.addresses -}}{{- $ports = append $ports (splitList ":" . | last | int) -}}{{- end -}}
{{- if eq .Values.redis.mode "sentinel" -}}{{- $ports = append $ports 6379 -}}{{- end -}}
{{- .Values.networkPolicy.redisPorts | default (uniq $ports) | toJson -}}
{{- end -}}

{{- define "sightline.storagePorts" -}}
{{- $url := urlParse .Values.s3.endpoint -}}
{{- $host := splitList ":" $url.host -}}
{{- $port := ternary 80 443 (eq $url.scheme "http") -}}
{{- if gt (len $host) 1 -}}{{- $port = last $host | int -}}{{- end -}}
{{- .Values.networkPolicy.storagePorts | default (list $port) | toJson -}}
{{- end -}}

{{- define "sightline.redisUrl" -}}
{{- $redis := .Values.redis -}}
{{- $scheme := ternary "rediss" "redis" $redis.tls.enabled -}}
{{- if eq $redis.mode "sentinel" -}}
{{ $scheme }}+sentinel://{{ join "," $redis.addresses }}/{{ $redis.sentinelMaster }}
{{- else -}}
{{ $scheme }}://{{ join "," $redis.addresses }}
{{- end -}}
{{- $query := list -}}
{{- if $redis.database -}}{{- $query = append $query (printf "db=%d" (int $redis.database)) -}}{{- end -}}
{{- if include "sightline.hasRedisCa" . -}}
{{- range $parameter, $key := dict "ssl_ca_certs" $redis.tls.caKey "ssl_certfile" $redis.tls.certKey "ssl_keyfile" $redis.tls.keyKey -}}
{{- with $key -}}{{- $query = append $query (printf "%s=/run/redis-ca/%s" $parameter .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- with $query -}}?{{ join "&" . }}{{- end -}}
{{- end -}}

{{/* Takes (dict "name" ENV "secret" NAME "key" KEY). */}}
{{- define "sightline.fromSecret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end -}}

{{/* What api pods and workers have in common. Takes (dict "root" $ "class" …). */}}
{{- define "sightline.env" -}}
{{- $values := .root.Values -}}
{{- $auth := $values.redis.auth -}}
- name: REDIS_URL
  value: {{ include "sightline.redisUrl" .root | quote }}
- name: REDIS_QUEUE
  value: {{ $values.redis.queue | quote }}
{{- with .class }}
- name: MODEL_CLASS
  value: {{ . | quote }}
{{- end }}
{{- if $auth.existingSecret }}
{{- with $auth.usernameKey }}
{{ include "sightline.fromSecret" (dict "name" "REDIS_USERNAME" "secret" $auth.existingSecret "key" .) }}
{{- end }}
{{ include "sightline.fromSecret" (dict "name" "REDIS_PASSWORD" "secret" $auth.existingSecret "key" $auth.passwordKey) }}
{{- with $auth.sentinelUsernameKey }}
{{ include "sightline.fromSecret" (dict "name" "REDIS_SENTINEL_USERNAME" "secret" $auth.existingSecret "key" .) }}
{{- end }}
{{- with $auth.sentinelPasswordKey }}
{{ include "sightline.fromSecret" (dict "name" "REDIS_SENTINEL_PASSWORD" "secret" $auth.existingSecret "key" .) }}
{{- end }}
{{- end }}
- name: LOG_LEVEL
  value: {{ $values.logLevel | quote }}
- name: LOG_FORMAT
  value: json
{{- with $values.images.s3 }}
- name: IMAGE_STORE
  value: {{ . | quote }}
{{- end }}
{{- if or $values.images.s3 $values.models.s3 }}
- name: S3_TIMEOUT_S
  value: {{ $values.s3.timeoutSeconds | quote }}
{{- with $values.s3.endpoint }}
- name: S3_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with $values.s3.region }}
- name: S3_REGION
  value: {{ . | quote }}
{{- end }}
{{- with $values.s3.existingSecret }}
{{ include "sightline.fromSecret" (dict "name" "S3_ACCESS_KEY_ID" "secret" . "key" $values.s3.accessKeyIdKey) }}
{{ include "sightline.fromSecret" (dict "name" "S3_SECRET_ACCESS_KEY" "secret" . "key" $values.s3.secretAccessKeyKey) }}
{{- end }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The fields of every pod. Takes (dict "root" $ "pod" values "selector" labels). */}}
{{- define "sightline.pod" -}}
{{- $values := .root.Values -}}
# Kubernetes would set REDIS_PORT=tcp://… for a Service named redis.
enableServiceLinks: false
automountServiceAccountToken: {{ not (empty .pod.serviceAccountName) }}
{{- with .pod.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with $values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
securityContext:
{{ toYaml (mergeOverwrite (dict "runAsNonRoot" true "runAsUser" 10001 "runAsGroup" 10001 "fsGroup" 10001 "fsGroupChangePolicy" "OnRootMismatch" "seccompProfile" (dict "type" "RuntimeDefault")) (deepCopy $values.podSecurityContext)) | indent 2 }}
{{- with .pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .pod.nodeSelector }}
nodeSelector:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .pod.tolerations }}
tolerations:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .pod.affinity }}
affinity:
{{ toYaml . | indent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if .pod.topologySpreadConstraints }}
{{ toYaml .pod.topologySpreadConstraints | indent 2 }}
{{- else }}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
{{ $.selector | indent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "sightline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* kubelet asks with the pod's address as Host, which TRUSTED_HOSTS need not allow. Takes (dict "path" … "port" …). */}}
{{- define "sightline.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
  httpHeaders:
    - name: Host
      value: localhost
{{- end -}}

{{- define "sightline.strategy" -}}
strategy:
  type: RollingUpdate
  rollingUpdate:
    maxSurge: 1
    maxUnavailable: 0
{{- end -}}

{{/* Whether pods mount what TLS to Redis needs. */}}
{{- define "sightline.hasRedisCa" -}}
{{- if and .Values.redis.tls.enabled .Values.redis.tls.existingSecret -}}true{{- end -}}
{{- end -}}

{{/* How fast workers are added and removed; benchmarks/own/autoscaling.py is where the figures come from. Takes an autoscaling entry. */}}
{{- define "sightline.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 200, periodSeconds: 15}
    - {type: Pods, value: 4, periodSeconds: 15}
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: {{ .scaleDownStabilizationSeconds }}
  policies:
    - {type: Percent, value: 25, periodSeconds: 60}
    - {type: Pods, value: 1, periodSeconds: 60}
  selectPolicy: Max
{{- end -}}

{{/* A rule of a NetworkPolicy. Takes (dict "ports" list "peers" list). */}}
{{- define "sightline.egress" -}}
- ports:
{{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
{{- end }}
{{- with .peers }}
  to:
{{ toYaml . | indent 4 }}
{{- end }}
{{- end -}}
