package probes

import (
	"errors"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

func TestResolvConf(t *testing.T) {
	const (
		stub    = "# made by systemd-resolved\nnameserver 127.0.0.53\noptions edns0\n"
		real    = "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example\n"
		systemd = "/run/systemd/resolve/resolv.conf"
		etc     = "/etc/resolv.conf"
		config  = "/var/lib/kubelet/config.yaml"
	)
	kubelet := "kind: KubeletConfiguration\n"
	for _, tc := range []struct {
		name    string
		files   map[string]string
		subject string
		want    problem.Severity
	}{
		{"healthy", map[string]string{config: kubelet, etc: real}, etc, 0},
		{"no nameserver", map[string]string{config: kubelet, etc: "search example\n#nameserver 192.0.2.53\n"}, etc, problem.Critical},
		{"empty", map[string]string{config: kubelet, etc: ""}, etc, problem.Critical},
		{"none that is an address", map[string]string{config: kubelet, etc: "nameserver dns.example\nnameserver\n"}, etc, problem.Critical},
		{"missing", map[string]string{config: kubelet}, etc, problem.Critical},
		{"loopback", map[string]string{config: kubelet, etc: stub}, etc, problem.Critical},
		{"loopback of IPv6", map[string]string{config: kubelet, etc: "nameserver ::1\n"}, etc, problem.Critical},
		{"one of two is a loopback address", map[string]string{config: kubelet, etc: stub + real}, etc, problem.Warning},
		{
			"look-alike: systemd's stub, while kubelet takes the real one",
			map[string]string{config: kubelet + "resolvConf: " + systemd + "\n", etc: stub, systemd: real},
			etc, 0,
		},
		{
			"look-alike: more nameservers than kubelet passes on",
			map[string]string{config: kubelet, etc: real + "nameserver 192.0.2.54\nnameserver 192.0.2.55\n"},
			etc, 0,
		},
		{
			"another file, and that one is bad",
			map[string]string{config: kubelet + "resolvConf: " + systemd + "\n", etc: real, systemd: stub},
			systemd, problem.Critical,
		},
		{
			"look-alike: k3s finds a sound one by itself",
			map[string]string{"/var/lib/rancher/k3s/agent/kubelet.kubeconfig": "", etc: stub, systemd: real},
			etc, 0,
		},
		{
			"look-alike: k3s has made one",
			map[string]string{"/var/lib/rancher/k3s/agent/kubelet.kubeconfig": "", etc: stub, "/var/lib/rancher/k3s/agent/etc/resolv.conf": "nameserver 8.8.8.8\n"},
			etc, 0,
		},
		{
			"k3s finds none",
			map[string]string{"/var/lib/rancher/k3s/agent/kubelet.kubeconfig": "", etc: stub, systemd: stub},
			etc, problem.Critical,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := NewResolvConf().Run(t.Context(), tree(t, tc.files))
			if err != nil {
				t.Fatal(err)
			}
			v := checkSeverity(t, r, problem.ResolvConfInvalid, tc.subject, tc.want)
			if len(r.Verdicts) > 1 || tc.want == 0 && len(r.Verdicts) > 0 || v.Refused != (tc.want == problem.Critical) {
				t.Errorf("%+v", r.Verdicts)
			}
		})
	}
	// What an absolute link names is on the host, not here.
	n := tree(t, map[string]string{config: kubelet, "/run/resolvconf": real})
	symlink(t, n, "/run/resolvconf", etc)
	if r, err := NewResolvConf().Run(t.Context(), n); err != nil || len(r.Verdicts) > 0 {
		t.Errorf("an absolute link: %+v, %v", r, err)
	}
	for _, files := range []map[string]string{nil, {config: kubelet + "resolvConf: \"\"\n", etc: stub}} {
		var na *problem.NotApplicableError
		if r, err := NewResolvConf().Run(t.Context(), tree(t, files)); !errors.As(err, &na) {
			t.Errorf("%v: %+v, %v, want not applicable", files, r, err)
		}
	}
}

func FuzzNameservers(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.53\nnameserver\t::1\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := resolvConf{file: "/etc/resolv.conf", servers: parseNameservers(raw)}
		if len(c.servers) == 0 && len(evaluateResolvConf(c)) == 0 {
			t.Fatal("no nameserver is fine")
		}
	})
}
