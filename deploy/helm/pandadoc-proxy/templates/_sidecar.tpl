{{/*
For a chart of your own, which has this one as a dependency with `app: {enabled: false}`:

  spec:
    serviceAccountName: {{ include "pandadoc-proxy.name" .Subcharts.pandadocproxy }}   # with oauth.shared alone
    automountServiceAccountToken: false
    terminationGracePeriodSeconds: {{ include "pandadoc-proxy.gracePeriod" .Subcharts.pandadocproxy }}
    initContainers:
      {{- include "pandadoc-proxy.sidecar" .Subcharts.pandadocproxy | nindent 6 }}
    volumes:
      {{- include "pandadoc-proxy.volumes" .Subcharts.pandadocproxy | nindent 6 }}

where `pandadocproxy` is the dependency's alias (a name with a dash needs `index .Subcharts "pandadoc-proxy"`).
*/}}

{{/*
With an alias in it, for a chart may take this one twice: under one name a key would be lent to both. Nothing of it may
be cut off then; 57 leaves room for "-grant".
*/}}
{{- define "pandadoc-proxy.name" -}}
{{- $name := printf "%s-pandadoc-proxy" .Release.Name }}
{{- if ne .Chart.Name "pandadoc-proxy" }}
{{- $name = printf "%s-%s-pandadoc-proxy" .Release.Name (.Chart.Name | lower | replace "_" "-") }}
{{- if gt (len $name) 57 }}
{{- fail (printf "%s is longer than 57 characters: shorten the alias, or the release's name" $name) }}
{{- end }}
{{- end }}
{{- $name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* A changed configuration is another ConfigMap, so that it rolls out. */}}
{{- define "pandadoc-proxy.configName" -}}
{{ printf "%s-%s" (include "pandadoc-proxy.name" . | trunc 54 | trimSuffix "-") (include "pandadoc-proxy.config" . | sha256sum | trunc 8) }}
{{- end }}

{{- define "pandadoc-proxy.secretName" -}}
{{ .Values.existingSecret | default (include "pandadoc-proxy.name" .) }}
{{- end }}

{{- define "pandadoc-proxy.claimName" -}}
{{ .Values.oauth.existingClaim | default (printf "%s-grant" (include "pandadoc-proxy.name" . | trunc 57 | trimSuffix "-")) }}
{{- end }}

{{- define "pandadoc-proxy.grantName" -}}
{{ .Values.oauth.existingGrant | default (printf "%s-grant" (include "pandadoc-proxy.name" . | trunc 57 | trimSuffix "-")) }}
{{- end }}

{{- define "pandadoc-proxy.baseUrl" -}}
http://127.0.0.1:{{ .Values.ports.listener }}
{{- end }}

{{/* The app ends first, then the proxy, then a refresh that is on its way; 10 s are the kubelet's. */}}
{{- define "pandadoc-proxy.gracePeriod" -}}
{{ add .Values.app.shutdown .Values.shutdown.grace .Values.shutdown.drain .Values.oauth.redeemTimeout 10 }}
{{- end }}

{{- define "pandadoc-proxy.config" -}}
{{- $credential := dict "api_key" (dict "file" "/run/secrets/pandadoc/api-key") }}
{{- if .Values.oauth.enabled }}
{{- $oauth := dict "client_id" (dict "file" "/run/secrets/pandadoc/client-id")
                   "client_secret" (dict "file" "/run/secrets/pandadoc/client-secret")
                   "store" (dict "file" "/var/lib/pandadoc-proxy/grant.json")
                   "redeem_timeout" (printf "%ds" (int .Values.oauth.redeemTimeout)) }}
{{- if .Values.oauth.shared }}
{{- $_ := set $oauth "store" (dict "kubernetes" (dict "secret" (include "pandadoc-proxy.grantName" .))) }}
{{- end }}
{{- if .Values.oauth.seeded }}
{{- $_ := set $oauth "refresh_token" (dict "file" "/run/secrets/pandadoc/refresh-token") }}
{{- end }}
{{- $credential = dict "oauth2" $oauth }}
{{- end }}
{{- $listener := merge (dict "bind" (printf "127.0.0.1:%d" (int .Values.ports.listener))) .Values.listener }}
{{- if and (hasKey $listener "health") (eq "" $listener.health) }}
{{- $_ := set $listener "health" nil }}
{{- end }}
{{- $host := .Values.adminHost }}
{{- if contains ":" $host }}
{{- $host = printf "[%s]" $host }}
{{- end }}
{{- $ours := dict
      "listeners" (list $listener)
      "upstream" .Values.upstream
      "admin" (dict "bind" (printf "%s:%d" $host (int .Values.ports.admin)))
      "credentials" (dict "default" $credential)
      "shutdown" (dict "grace" (printf "%ds" (int .Values.shutdown.grace)) "drain" (printf "%ds" (int .Values.shutdown.drain))) }}
{{- toYaml (merge $ours .Values.config) }}
{{- end }}

{{/* An item for initContainers; put it before your own. */}}
{{- define "pandadoc-proxy.sidecar" -}}
- name: pandadoc-proxy
  image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  env:
    - {name: PANDADOC_PROXY_CONFIG, value: /etc/pandadoc-proxy/config.yaml}
  ports:
    - {name: proxy-admin, containerPort: {{ .Values.ports.admin }}}
  startupProbe:
    httpGet: {path: /startupz, port: proxy-admin}
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: /readyz, port: proxy-admin}
    periodSeconds: 5
  livenessProbe:
    httpGet: {path: /livez, port: proxy-admin}
    periodSeconds: 10
    timeoutSeconds: 5
  resources: {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
    readOnlyRootFilesystem: true
    seccompProfile: {type: RuntimeDefault}
  volumeMounts:
    - {name: pandadoc-proxy-config, mountPath: /etc/pandadoc-proxy, readOnly: true}
    - {name: pandadoc-secret, mountPath: /run/secrets/pandadoc, readOnly: true}
    {{- if .Values.oauth.shared }}
    - {name: pandadoc-account, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
    {{- else if .Values.oauth.enabled }}
    - {name: pandadoc-grant, mountPath: /var/lib/pandadoc-proxy}
    {{- end }}
{{- end }}

{{/* Items for volumes. With OAuth on a volume the pod's securityContext needs `fsGroup: 65532`. */}}
{{- define "pandadoc-proxy.volumes" -}}
- name: pandadoc-proxy-config
  configMap: {name: {{ include "pandadoc-proxy.configName" . }}}
- name: pandadoc-secret
  secret: {secretName: {{ include "pandadoc-proxy.secretName" . | quote }}}
{{- if .Values.oauth.shared }}
- name: pandadoc-account   # what the kubelet would mount by itself, into the app's containers too
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- else if .Values.oauth.enabled }}
- name: pandadoc-grant
  persistentVolumeClaim: {claimName: {{ include "pandadoc-proxy.claimName" . | quote }}}
{{- end }}
{{- end }}
