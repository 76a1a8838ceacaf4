// Package kubelet finds out how the node's kubelet is set up, from the files that
// set it up: never from its command line, which is not ours to read.
//
// This file holds the settings and what kubelet assumes where nothing is set.
package kubelet

import (
	"fmt"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
)

// Settings is what kubelet runs with, as far as it concerns the node's health.
type Settings struct {
	Found        bool     // this node is set up to run a kubelet
	Distribution string   // kubelet, k3s, rke2, k0s or microk8s
	From         []string // the host's files that the settings came from

	// DataDir is where k3s and rke2 keep images, containers and their own state;
	// empty for the others.
	DataDir string
	RootDir string // pods' volumes are below it
	// KubeConfig is the file that says where the API server is; empty for a
	// kubelet that has none. APIServer reads it.
	KubeConfig string

	CgroupRoot   string // empty: the hierarchy's root
	CgroupDriver string // systemd, cgroupfs; empty where not set: then as the runtime has it, or cgroupfs
	// CgroupsPerQOS tells that pods are below a folder kubepods.
	CgroupsPerQOS          bool
	EnforceNodeAllocatable []string
	PodPidsLimit           int64 // -1: as many as the node allows

	// Thresholds by signal. A signal without one never leads to evictions.
	EvictionHard map[string]Threshold
	EvictionSoft map[string]Threshold

	HealthzAddress           string
	HealthzPort              int // 0: not served
	ResolvConf               string
	ContainerRuntimeEndpoint string
	CertDir                  string // where kubelet keeps the certificates that it has made or asked for
	TLSCertFile              string // the one that it serves with; empty: one in CertDir
}

// Threshold is when kubelet begins to evict: less left than Quantity or Percent,
// of which one is set.
type Threshold struct {
	Signal   string        // memory.available, nodefs.available, nodefs.inodesFree, imagefs.…, pid.available
	Quantity float64       // bytes; inodes and processes as such
	Percent  float64       // of the capacity, 0 to 100
	Grace    time.Duration // for how long, before a soft threshold counts
	// Once it is met, kubelet goes on until this much more than the threshold is left
	// (evictionMinimumReclaim), of which one is set, or none.
	ReclaimQuantity, ReclaimPercent float64
}

// Read finds the kubelet's settings. A node without one is no error: Found is
// false. What cannot be understood is an error that names the file; the settings
// that come with it are not to be relied on, but for Found, Distribution and From.
func Read(h *host.Host) (Settings, error) {
	r := &reader{h: h}
	find := []func(*reader) (*source, error){rancher("rke2"), rancher("k3s"), k0s, microk8s, systemdUnit, kubeadmFiles}
	for _, f := range find {
		src, err := f(r)
		switch {
		case err != nil:
			s := Settings{From: r.from}
			if src != nil {
				s.Found, s.Distribution = true, src.distribution
			}
			return s, err
		case src != nil:
			s, err := r.settings(src)
			s.From = r.from
			return s, err
		}
	}
	return Settings{}, nil
}

// source is what a distribution's own files say: the flags that kubelet is started
// with, and what differs from kubelet's own defaults.
type source struct {
	distribution string
	flags        []arg
	flagsFrom    string // for messages
	defaults     config
	dataDir      string
}

// settings follows kubelet's order (cmd/kubelet/app/server.go): its config file,
// else nothing; the drop-in folder over it; the flags over all.
func (r *reader) settings(src *source) (Settings, error) {
	s := Settings{Found: true, Distribution: src.distribution, DataDir: src.dataDir, RootDir: "/var/lib/kubelet", CertDir: "/var/lib/kubelet/pki"}
	if src.dataDir != "" {
		s.KubeConfig = src.dataDir + "/agent/kubelet.kubeconfig"
	}
	cfg := src.defaults
	var paths struct{ config, configDir string }
	for _, f := range src.flags {
		switch f.name {
		case "config":
			paths.config = f.value
		case "config-dir":
			paths.configDir = f.value
		case "root-dir":
			s.RootDir = f.value
		case "cert-dir":
			s.CertDir = f.value
		case "kubeconfig":
			s.KubeConfig = f.value
		}
	}
	if paths.config != "" {
		if err := r.mergeConfig(&cfg, paths.config); err != nil {
			return s, err
		}
		cfg.defaultEviction()
	}
	if paths.configDir != "" {
		if err := r.mergeConfigDir(&cfg, paths.configDir); err != nil {
			return s, err
		}
	}
	if err := cfg.setFlags(src.flags, src.flagsFrom); err != nil {
		return s, err
	}
	if err := cfg.fill(&s); err != nil {
		return s, fmt.Errorf("%s: %w", strings.Join(r.from, ", "), err)
	}
	return s, nil
}
