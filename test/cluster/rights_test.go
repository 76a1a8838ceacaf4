package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestPolicy: with the chart's role and policy, an agent's token can write our
// conditions of its own Node, and nothing else of any.
func TestPolicy(t *testing.T) {
	t.Parallel()
	p := shared.plane
	makeNode(t, shared.plane, "mine")
	makeNode(t, shared.plane, "theirs")
	// As large as a Node gets: 50 images, and annotations of 256 KiB.
	large := fmt.Sprintf(`{"metadata":{"annotations":{"large":"%s"}},"status":{"images":[`, strings.Repeat("a", 250<<10))
	for i := range 50 {
		large += fmt.Sprintf(`{"names":["%03d%s","b"],"sizeBytes":1},`, i, strings.Repeat("x", 200))
	}
	large = strings.TrimSuffix(large, ",") + "]}}"
	if _, err := p.Do(http.MethodPatch, "/api/v1/nodes/mine/status", strategicMerge, large); err != nil {
		t.Fatal(err)
	}
	mine := p.TokenClient(podToken(t, shared.plane, "mine", "nodevitals"))
	unbound, err := p.Kubectl("", "create", "token", "nodevitals", "-n", "kube-system")
	if err != nil {
		t.Fatal(err)
	}
	const ours = `{"status":{"conditions":[{"type":"MountHung","status":"True","reason":"K","message":"m"}]}}`
	// The API server takes a policy in within seconds.
	err = Await(patience, func() error {
		_, err := p.DoAs(mine, http.MethodPatch, "/api/v1/nodes/theirs/status", strategicMerge, ours)
		if err == nil || !strings.Contains(err.Error(), "the agent writes only the Node that its pod runs on") {
			return fmt.Errorf("another's Node: %w", cmp.Or(err, errors.New("written")))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		who        *http.Client
		path, body string
		refused    string
	}{
		"our conditions":             {mine, "mine/status", ours, ""},
		"our conditions, once more":  {mine, "mine/status", ours, ""},
		"ours are removed":           {mine, "mine/status", `{"status":{"conditions":[{"$patch":"delete","type":"MountHung"}]}}`, ""},
		"a token that is no pod's":   {p.TokenClient(strings.TrimSpace(unbound)), "mine/status", ours, "the agent writes only the Node that its pod runs on"},
		"Ready":                      {mine, "mine/status", `{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`, "does not write kubelet's conditions"},
		"Ready is removed":           {mine, "mine/status", `{"status":{"conditions":[{"$patch":"delete","type":"Ready"}]}}`, "does not write kubelet's conditions"},
		"NetworkUnavailable is made": {mine, "mine/status", `{"status":{"conditions":[{"type":"NetworkUnavailable","status":"True"}]}}`, "does not write kubelet's conditions"},
		"capacity":                   {mine, "mine/status", `{"status":{"capacity":{"cpu":"1000"}}}`, "nothing of a Node but conditions"},
		"an address":                 {mine, "mine/status", `{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]}}`, "nothing of a Node but conditions"},
		"kubelet's port":             {mine, "mine/status", `{"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":22}}}}`, "nothing of a Node but conditions"},
		"kubelet's version":          {mine, "mine/status", `{"status":{"nodeInfo":{"kubeletVersion":"v9.9.9"}}}`, "nothing of a Node but conditions"},
		"an image":                   {mine, "mine/status", `{"status":{"images":[{"names":["a:b"],"sizeBytes":1}]}}`, "nothing of a Node but conditions"},
		"a volume in use":            {mine, "mine/status", `{"status":{"volumesInUse":["a"]}}`, "nothing of a Node but conditions"},
		"a volume that is attached":  {mine, "mine/status", `{"status":{"volumesAttached":[{"name":"a","devicePath":""}]}}`, "nothing of a Node but conditions"},
		"a finalizer":                {mine, "mine/status", `{"metadata":{"finalizers":["a.example/b"]}}`, "nothing of a Node but conditions"},
		"a label":                    {mine, "mine/status", `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`, "nothing of a Node but conditions"},
		"an annotation":              {mine, "mine/status", `{"metadata":{"annotations":{"a":"b"}}}`, "nothing of a Node but conditions"},
		"a taint":                    {mine, "mine", `{"spec":{"taints":[{"key":"a","effect":"NoExecute"}]}}`, `cannot patch resource`},
	} {
		_, err := p.DoAs(x.who, http.MethodPatch, "/api/v1/nodes/"+x.path, strategicMerge, x.body)
		if x.refused == "" && err != nil || x.refused != "" && (err == nil || !strings.Contains(err.Error(), x.refused)) {
			t.Errorf("%s: %v, want %q", name, err, x.refused)
		}
	}
	for _, path := range []string{"/api/v1/nodes", "/api/v1/namespaces/kube-system/pods", "/api/v1/namespaces/kube-system/secrets"} {
		if _, err := p.DoAs(mine, http.MethodGet, path, "", nil); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s can be listed: %v", path, err)
		}
	}
}

// TestImpersonation: an agent that may do nothing as itself, and that as its node
// only on the node that its pod runs on.
func TestImpersonation(t *testing.T) {
	t.Parallel()
	p := shared.plane
	_, err := p.Kubectl(impersonator, "apply", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	makeNode(t, shared.plane, "as-node")
	makeNode(t, shared.plane, "not-mine")
	token := podToken(t, shared.plane, "as-node", "impersonator")
	a := &agent{t: t, plane: shared.plane, node: "as-node", dir: t.TempDir(), more: "kubernetes: {impersonateNode: true}"}
	a.log = a.dir + "/kern.log"
	a.must(os.WriteFile(a.log, nil, 0o600))
	a.kubeconfig, _, err = p.TokenKubeconfig("as-node", token)
	a.must(err)
	a.start()
	a.await("MountHung", "False")
	a.hang("nas1")
	a.await("MountHung", "True")
	a.awaitEvents("NFSServerNotResponding")
	a.stop()
	a.node = "not-mine"
	a.start()
	a.awaitWarning(`cannot write the conditions of Node not-mine`)
	for typ := range a.conditions() {
		if typ == "MountHung" {
			t.Error("it has written another node's conditions")
		}
	}
}

// impersonator is a service account with the role that the chart makes for
// config.kubernetes.impersonateNode.
const impersonator = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: impersonator, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: impersonator}
rules:
  - {apiGroups: [authentication.k8s.io], resources: [nodes], verbs: ["impersonate:associated-node"]}
  - {apiGroups: [""], resources: [nodes], verbs: ["impersonate-on:associated-node:get"]}
  - {apiGroups: [""], resources: [nodes/status], verbs: ["impersonate-on:associated-node:patch"]}
  - {apiGroups: [events.k8s.io], resources: [events], verbs: ["impersonate-on:associated-node:create", "impersonate-on:associated-node:patch"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: impersonator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: impersonator}
subjects: [{kind: ServiceAccount, name: impersonator, namespace: kube-system}]
`

// TestTokenRotates: kubelet puts a new token into the file before the old one ends.
func TestTokenRotates(t *testing.T) {
	t.Parallel()
	p := shared.plane
	a := newAgent(t, shared.plane, "rotation")
	path, file, err := p.TokenKubeconfig("rotation", "not.a.token")
	a.must(err)
	a.kubeconfig = path
	begun := time.Now()
	a.start()
	a.awaitWarning("the credentials are not accepted")
	if _, there := a.conditions()["MountHung"]; there {
		t.Error("written without a token")
	}
	token, err := p.Kubectl("", "create", "token", "nodevitals", "-n", "kube-system", "--bound-object-kind=Pod", "--bound-object-name=nodevitals-rotation")
	a.must(err)
	a.must(os.WriteFile(file, []byte(strings.TrimSpace(token)), 0o600))
	a.await("MountHung", "False")
	t.Logf("written %v after the start", time.Since(begun).Round(time.Second))
}
