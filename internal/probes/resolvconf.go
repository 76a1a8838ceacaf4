package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// ResolvConf watches the resolv.conf that kubelet hands to pods with the DNS
// policy Default, which the cluster's DNS servers have.
type ResolvConf struct{}

// NewResolvConf is the probe. It has no thresholds.
func NewResolvConf() *ResolvConf { return &ResolvConf{} }

// Name implements Probe.
func (*ResolvConf) Name() string { return "resolvconf" }

// Kinds implements Probe.
func (*ResolvConf) Kinds() []problem.Kind { return []problem.Kind{problem.ResolvConfInvalid} }

// Run implements Probe.
func (*ResolvConf) Run(_ context.Context, n *Node) (problem.Result, error) {
	s, err := kubeletSettings(n)
	switch {
	case err != nil:
		return problem.Result{}, err
	case s.ResolvConf == "":
		return problem.Result{}, problem.NotApplicablef("kubelet is told to hand no resolv.conf to pods")
	}
	var first []problem.Verdict
	for i, file := range resolvConfFiles(s) {
		conf, err := readResolvConf(n.Host, file)
		if err != nil {
			return problem.Result{}, err
		}
		verdicts := evaluateResolvConf(conf)
		if len(verdicts) == 0 {
			return problem.Result{}, nil
		}
		if i == 0 {
			first = verdicts
		}
	}
	return problem.Result{Verdicts: first}, nil
}

// resolvConfFiles are the files of which kubelet gets the first that is sound.
// kubelet itself takes the one it is told; k3s and rke2, if told none, look for
// one, and make one in their own folder if there is none
// (k3s: pkg/agent/config, locateOrGenerateResolvConf).
func resolvConfFiles(s kubelet.Settings) []string {
	files := []string{s.ResolvConf}
	if s.DataDir != "" && s.ResolvConf == "/etc/resolv.conf" {
		files = append(files, "/run/systemd/resolve/resolv.conf", s.DataDir+"/agent/etc/resolv.conf")
	}
	return files
}

// resolvConf is a file of the resolver, as far as it matters here (resolv.conf(5)).
type resolvConf struct {
	file    string
	missing bool
	servers []string
}

func readResolvConf(h *host.Host, file string) (resolvConf, error) {
	raw, err := h.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return resolvConf{file: file, missing: true}, nil
	} else if err != nil {
		return resolvConf{}, err
	}
	return resolvConf{file: file, servers: parseNameservers(raw)}, nil
}

// parseNameservers are the values of the lines "nameserver ADDRESS", each no
// longer than an address can be.
func parseNameservers(raw []byte) []string {
	const longest = 64 // an IPv6 address with a zone
	var servers []string
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "nameserver" && len(f[1]) <= longest {
			servers = append(servers, f[1])
		}
	}
	return servers
}

// evaluateResolvConf judges the file. More than three nameservers are no fault:
// kubelet passes on the first three, and says so in its log.
func evaluateResolvConf(c resolvConf) []problem.Verdict {
	usable, loopback := 0, ""
	for _, s := range c.servers {
		addr, err := netip.ParseAddr(s)
		switch {
		case err != nil:
		case addr.IsLoopback() || addr.IsUnspecified():
			loopback = s
		default:
			usable++
		}
	}
	v := problem.Verdict{
		Kind: problem.ResolvConfInvalid, Subject: c.file, State: problem.Wrong, Severity: problem.Critical,
		Evidence: []string{fmt.Sprintf("%s: nameservers %q", c.file, c.servers)},
		Touches:  []problem.Ref{problem.RefNode},
		Refused:  true,
	}
	switch {
	case c.missing:
		v.Message = fmt.Sprintf("kubelet's resolv.conf %s does not exist", c.file)
		v.Evidence = []string{c.file + ": no such file"}
	case loopback != "" && usable > 0:
		v.Severity, v.Refused = problem.Warning, false
		v.Message = fmt.Sprintf("one of the nameservers in kubelet's resolv.conf %s is a loopback address (%s), which in a pod is the pod itself", c.file, loopback)
	case loopback != "":
		v.Message = fmt.Sprintf("kubelet's resolv.conf %s has only a loopback nameserver (%s), which in a pod is the pod itself", c.file, loopback)
	case usable == 0:
		v.Message = fmt.Sprintf("kubelet's resolv.conf %s has no usable nameserver", c.file)
	default:
		return nil
	}
	return []problem.Verdict{v}
}
