package e2e

import (
	"os"
	"path/filepath"
	"strings"
)

// This file: what the chart renders is what the API server understands, to the last field.

// everything is a use of each value.
const everything = `
image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
imagePullSecrets: [{name: pull}]
commonLabels: {team: nodes}
config: {logs: {lookBack: 5m}, conditions: {npdTypes: true}, probes: {threads: {period: 11s}}}
npdConfigs:
  kernel-monitor.json: '{"plugin":"kmsg","logPath":"/dev/kmsg","lookback":"5m","source":"kernel-monitor","conditions":[],"rules":[]}'
access: {runtimeSocket: false, runtimeFolders: [/run/containerd, /run/crio], kernelLog: true, netAdmin: true}
appArmorProfile: {type: RuntimeDefault}
seLinuxOptions: {type: spc_t}
serviceAccount: {name: other, annotations: {example.com/a: b}}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: DoesNotExist}]}]}}}
podAnnotations: {example.com/a: b}
podLabels: {example.com/c: d}
updateStrategy: {type: OnDelete, rollingUpdate: null}
extraEnv: [{name: GOGC, value: "50"}]
extraArgs: [--state-file=/var/lib/nodevitals/state.json]
podMonitor: {enabled: true, labels: {release: prometheus}}
prometheusRule: {enabled: true, disabled: [NodevitalsImagePullFailure]}
dashboard: {enabled: true}
`

// nothing leaves out all that can be left out.
const nothing = `
kubernetes: {enabled: false, admissionPolicy: false}
cleanup: {enabled: false}
access: {runtimeSocket: false}
resources: {}
`

// renderings: a dry run of each on the API server, which refuses what it does not know. The
// Prometheus operator's kinds are let in as they are.
func renderings(w *world) {
	for _, kind := range []struct{ kind, plural string }{{"PodMonitor", "podmonitors"}, {"PrometheusRule", "prometheusrules"}} {
		_, err := w.Kubectl(strings.NewReplacer("KIND", kind.kind, "PLURAL", kind.plural, "SINGULAR", strings.ToLower(kind.kind)).Replace(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
"metadata":{"name":"PLURAL.monitoring.coreos.com"},"spec":{"group":"monitoring.coreos.com","scope":"Namespaced","names":{"kind":"KIND","plural":"PLURAL","singular":"SINGULAR"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}]}}`), "create", "-f", "-")
		w.must(err)
	}
	w.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	manifests, err := os.ReadFile("../../deploy/manifests/nodevitals.yaml")
	w.must(err)
	all := map[string]string{"deploy/manifests": string(manifests)}
	for name, values := range map[string]string{"defaults": "{}", "everything": everything, "nothing": nothing} {
		file := filepath.Join(w.Dir, name+".yaml")
		w.must(os.WriteFile(file, []byte(values), 0o600))
		all[name] = w.helm("template", "nodevitals", chart, "--values="+file)
	}
	for name, rendered := range all {
		out, err := w.Kubectl(rendered, "apply", "--dry-run=server", "--validate=strict", "--namespace=kube-system", "-f", "-")
		if err != nil {
			w.t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(out, "daemonset.apps/nodevitals created (server dry run)") {
			w.t.Errorf("%s has made\n%s", name, out)
		}
	}
	// A field that it does not know is refused: that is what strict means.
	if out, err := w.Kubectl(strings.Replace(all["defaults"], "hostPID: true", "hostPDI: true", 1), "apply", "--dry-run=server", "--validate=strict", "--namespace=kube-system", "-f", "-"); err == nil {
		w.t.Errorf("hostPDI is let through:\n%s", out)
	}
}
