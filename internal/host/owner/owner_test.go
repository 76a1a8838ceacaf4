package owner

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/cgroup"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/test/fixtures"
)

// clock stands still until it is told otherwise.
type clock struct{ now time.Duration }

func (c *clock) Boot() time.Duration { return c.now }
func (c *clock) Wall() time.Time     { return time.Unix(0, 0) }

const (
	apiUID  = "be5db35861ac2a7b1886bc3f26bc3a2b"
	apiID   = "cba8680550f6f33d25e144a8118716ae874a6e75d57bb0f7323175725df8835b"
	sideID  = "33c7495fc68d51b5a9e4d8b1b9fbd7de1632a6cd8f6a3c248583963ff3870977"
	pauseID = "28bbd39a4eec01777d971f150bab693d8c507aecd194089782015636435dc995"
	apiPod  = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + apiUID + ".slice"
)

// node is a recorded node with log folders.
func node(t *testing.T, logs ...string) (root string, c *clock, r *Resolver) {
	t.Helper()
	root = fixtures.Node(t, "healthy-k6.12")
	addLogs(t, root, logs...)
	h, err := host.New(root)
	if err != nil {
		t.Fatal(err)
	}
	c = &clock{now: time.Hour}
	h.Clock = c
	tree, err := cgroup.Detect(h)
	if err != nil {
		t.Fatal(err)
	}
	return root, c, NewResolver(h, tree)
}

func addLogs(t *testing.T, root string, logs ...string) {
	t.Helper()
	for _, l := range logs {
		p := filepath.Join(root, "var/log", l)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.HasSuffix(l, ".log") {
			// They dangle, as they do in a container.
			err = os.Symlink("/nonexistent/0.log", p)
		} else {
			err = os.Mkdir(p, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestOwners(t *testing.T) {
	_, _, r := node(t,
		"pods/payments_api-7c9_"+apiUID,
		"pods/not-a-pod",
		"pods/Bad_name_uid",
		"containers/api-7c9_payments_app-"+apiID+".log",
		"containers/other_payments_app-"+sideID+".log", // says another pod
		"containers/garbage.log",
	)
	for _, c := range []struct {
		path, name string
		refs       []problem.Ref
		scope      problem.Scope
	}{
		{"/", "node", []problem.Ref{"cgroup:/"}, problem.NodeScope},
		{"/foo", "cgroup /foo", []problem.Ref{"cgroup:/foo"}, problem.NodeScope},
		{"/a b~c", "cgroup /a b~c", nil, problem.NodeScope},
		{"/a\x1b[31m\n", "cgroup /a?[31m?", nil, problem.NodeScope},
		{"/system.slice/kubelet.service", "unit kubelet.service", []problem.Ref{"unit:kubelet.service", "cgroup:/system.slice/kubelet.service"}, problem.NodeScope},
		{"/kubepods.slice", "unit kubepods.slice", nil, problem.NodeScope},
		{"/kubepods/burstable", "cgroup /kubepods/burstable", nil, problem.NodeScope},
		{
			"/user.slice/user-1000.slice/session-3.scope", "user 1000",
			[]problem.Ref{"unit:session-3.scope", "uid:1000", "cgroup:/user.slice/user-1000.slice/session-3.scope"},
			problem.NodeScope,
		},
		{"/docker/" + apiID, "container cba8680550f6", nil, problem.NodeScope},
		{apiPod, "pod payments/api-7c9", []problem.Ref{"pod:payments/api-7c9", "pod:be5db35861ac2a7b1886bc3f26bc3a2b", problem.Ref("cgroup:" + apiPod)}, problem.PodScope},
		{apiPod + "/cri-containerd-" + apiID + ".scope", "pod payments/api-7c9 container app", nil, problem.PodScope},
		{apiPod + "/cri-containerd-" + sideID + ".scope", "pod payments/api-7c9", nil, problem.PodScope},
		{apiPod + "/cri-containerd-" + pauseID + ".scope", "pod payments/api-7c9", nil, problem.PodScope},
		{"/kubepods/pod0c1d2e3f-4a5b", "pod uid 0c1d2e3f-4a5b", []problem.Ref{"pod:0c1d2e3f-4a5b", "cgroup:/kubepods/pod0c1d2e3f-4a5b"}, problem.PodScope},
	} {
		o := r.OfCgroup(c.path)
		if o.String() != c.name || o.Scope() != c.scope {
			t.Errorf("%s: %q, scope %s; want %q, %s", c.path, o, o.Scope(), c.name, c.scope)
		}
		if c.refs != nil && !slices.Equal(o.Refs(), c.refs) {
			t.Errorf("%s: %q, want %q", c.path, o.Refs(), c.refs)
		}
	}
	for pid, want := range map[int]string{
		1: "unit init.scope", 435: "unit kubelet.service", 707: "pod payments/api-7c9 container app", 2: "node", 4000000: "unknown",
	} {
		if got := r.OfPID(pid).String(); got != want {
			t.Errorf("pid %d: %q, want %q", pid, got, want)
		}
	}
	if o := r.OfPID(4000000); o != (Owner{}) || o.Refs() != nil {
		t.Errorf("a process that is gone: %+v", o)
	}
	if o := NewResolver(r.host, nil).OfPID(1); o != (Owner{}) {
		t.Errorf("without cgroups: %+v", o)
	}
}

// The folders are listed again for a pod that is not known: at once for one that is
// new, and now and then for one that has no folder.
func TestNamesAppear(t *testing.T) {
	root, c, r := node(t)
	if got := r.OfCgroup(apiPod).String(); got != "pod uid "+apiUID {
		t.Fatalf("before the folder is there: %q", got)
	}
	r.OfCgroup("/kubepods/pod9c7b6a5f-0000-4000-8000-000000000000") // another without a name
	addLogs(t, root, "pods/payments_api-7c9_"+apiUID)
	if got := r.OfCgroup(apiPod).String(); got != "pod uid "+apiUID {
		t.Errorf("listed again at once: %q", got)
	}
	const young = "9c7b6a5f-0000-4000-8000-1f2e3d4c5b6a"
	addLogs(t, root, "pods/payments_young_"+young)
	if got := r.OfCgroup("/kubepods/pod" + young).String(); got != "pod payments/young" {
		t.Errorf("a young pod: %q", got)
	}
	c.now += relist
	if got := r.OfCgroup(apiPod).String(); got != "pod payments/api-7c9" {
		t.Errorf("after %v: %q", relist, got)
	}
	for i := range 3 * maxUnnamed {
		r.OfCgroup(fmt.Sprintf("/kubepods/pod9c7b6a5f-0000-4000-8000-%012x", i))
	}
	if len(r.unnamed) > maxUnnamed {
		t.Errorf("it remembers %d pods without a name", len(r.unnamed))
	}
	// A known pod needs no folder any more.
	if err := os.RemoveAll(filepath.Join(root, "var")); err != nil {
		t.Fatal(err)
	}
	c.now += relist
	if got := r.OfCgroup(apiPod).String(); got != "pod payments/api-7c9" {
		t.Errorf("listed again without need: %q", got)
	}
}

func TestPrintable(t *testing.T) {
	long := Owner{Cgroup: "/" + strings.Repeat("x", 5000)}.String()
	if len(long) > 300 {
		t.Errorf("%d bytes", len(long))
	}
}

// TestNamesThatAreNone: who may write a log folder may not put words into a report.
func TestNamesThatAreNone(t *testing.T) {
	dir := func(namespace, pod, uid string) string { return namespace + "_" + pod + "_" + uid }
	link := func(pod, namespace, container, id string) string {
		return pod + "_" + namespace + "_" + container + "-" + id + ".log"
	}
	if _, ok := parsePodDir(dir("shop", "web.0-az9", apiUID)); !ok {
		t.Error("a good folder is refused")
	}
	if _, ok := parseContainerLink(link("web.0-az9", "shop", "app", apiID)); !ok {
		t.Error("a good link is refused")
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a b", "a/b", "é", "a\n", strings.Repeat("a", 254)} {
		for _, d := range []string{dir(bad, "web", apiUID), dir("shop", bad, apiUID), dir("shop", "web", strings.Replace(bad, "A", "!", 1))} {
			if p, ok := parsePodDir(d); ok {
				t.Errorf("%q: %+v", d, p)
			}
		}
		for _, l := range []string{link(bad, "shop", "app", apiID), link("web", bad, "app", apiID), link("web", "shop", bad, apiID), link("web", "shop", "app", bad)} {
			if c, ok := parseContainerLink(l); ok {
				t.Errorf("%q: %+v", l, c)
			}
		}
	}
	for _, l := range []string{link("web", "a.b", "app", apiID), link("web", "shop", "a.b", apiID), link("web", "shop", "app", apiID[1:]), link("web", "shop", "app", "g"+apiID[1:]), "web_shop_app.log", "web_shop_app-" + apiID} {
		if c, ok := parseContainerLink(l); ok {
			t.Errorf("%q: %+v", l, c)
		}
	}
}

func FuzzPodDir(f *testing.F) {
	f.Add("payments_worker-7c9_0c1d2e3f-4a5b-6c7d-8e9f-001122334455")
	f.Add("kube-system_etcd.node-1_" + apiUID)
	f.Fuzz(func(t *testing.T, dir string) {
		p, ok := parsePodDir(dir)
		if !ok {
			return
		}
		if p.namespace+"_"+p.name+"_"+p.uid != dir || len(p.namespace) > 63 || len(p.name) > 253 || len(p.uid) > 253 {
			t.Fatalf("%+v from %q", p, dir)
		}
		noGarbage(t, p.namespace+p.name+p.uid)
	})
}

func FuzzContainerLink(f *testing.F) {
	f.Add("worker-7c9_payments_app-" + apiID + ".log")
	f.Fuzz(func(t *testing.T, link string) {
		c, ok := parseContainerLink(link)
		if !ok {
			return
		}
		if c.pod+"_"+c.namespace+"_"+c.container+"-"+c.id+".log" != link || len(c.id) != 64 {
			t.Fatalf("%+v from %q", c, link)
		}
		noGarbage(t, c.pod+c.namespace+c.container+c.id)
	})
}

func FuzzOfCgroup(f *testing.F) {
	f.Add(apiPod + "/cri-containerd-" + apiID + ".scope")
	f.Add("/system.slice/x\ny.service")
	h := &host.Host{Clock: &clock{}}
	r := NewResolver(h, nil)
	f.Fuzz(func(t *testing.T, path string) {
		s := r.OfCgroup(path).String()
		if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) || len(s) > 300 {
			t.Fatalf("%q from %q", s, path)
		}
	})
}

// noGarbage: nothing that could start a new line or colour a terminal.
func noGarbage(t *testing.T, s string) {
	t.Helper()
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && c != '-' && c != '.' && (c < 'A' || c > 'Z') {
			t.Fatalf("%q got through", s)
		}
	}
}

// A pod is found by its name and by its uid; a name that two folders have is no one's.
func TestOfPod(t *testing.T) {
	root, c, r := node(t, "pods/payments_api_"+apiUID, "pods/payments_db-0_11111111-0000-4000-8000-000000000001", "pods/payments_db-0_11111111-0000-4000-8000-000000000002")
	api := Owner{PodUID: apiUID, Namespace: "payments", Pod: "api"}
	for id, want := range map[string]Owner{
		"payments/api":  api,
		apiUID:          api,
		"payments/db-0": {Namespace: "payments", Pod: "db-0"},
		"payments/none": {Namespace: "payments", Pod: "none"},
		"none":          {PodUID: "none"},
	} {
		if got := r.OfPod(id); got != want {
			t.Errorf("%s: %+v, want %+v", id, got, want)
		}
	}
	addLogs(t, root, "pods/payments_none_11111111-0000-4000-8000-000000000003")
	c.now += relist
	if got := r.OfPod("payments/none"); got.PodUID == "" {
		t.Errorf("after %v: %+v", relist, got)
	}
}

// A volume's pod is told by its mount point, wherever kubelet's folder is.
func TestOfVolume(t *testing.T) {
	_, _, r := node(t, "pods/payments_api_"+apiUID)
	for point, want := range map[string]string{
		"/var/lib/kubelet/pods/" + apiUID + "/volumes/kubernetes.io~nfs/data":   "api",
		"/data/kubelet/pods/" + apiUID + "/volumes/kubernetes.io~csi/pv1/mount": "api",
		"/var/lib/kubelet/pods/" + apiUID + "/volume-subpaths/pv1/app/0":        "api",
		"/var/lib/kubelet/pods/" + apiUID + "/etc-hosts":                        "",
		"/var/lib/kubelet/pods/" + apiUID:                                       "",
		"/var/lib/kubelet/plugins/kubernetes.io/csi/pv/pv1/globalmount":         "",
		"/pods/": "",
		"":       "",
	} {
		if got, ok := r.OfVolume(point); got.Pod != want || ok != (want != "") {
			t.Errorf("%s: %+v, %v; want %q", point, got, ok, want)
		}
	}
}
