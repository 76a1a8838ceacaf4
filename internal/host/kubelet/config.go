package kubelet

// This file reads kubelet's config file and the folder of drop-ins beside it.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"
)

// config is the part of KubeletConfiguration (kubelet.config.k8s.io/v1beta1) that
// is used here. Decoding a further file into the same value merges as kubelet does
// (RFC 7386): what is absent stays, maps merge by key, lists are replaced, null
// takes away.
type config struct {
	Kind string `yaml:"kind"`

	CgroupRoot             *string  `yaml:"cgroupRoot"`
	CgroupDriver           *string  `yaml:"cgroupDriver"`
	CgroupsPerQOS          *bool    `yaml:"cgroupsPerQOS"`
	EnforceNodeAllocatable []string `yaml:"enforceNodeAllocatable"`
	PodPidsLimit           *int64   `yaml:"podPidsLimit"`

	EvictionHard                 map[string]*limit   `yaml:"evictionHard"`
	EvictionSoft                 map[string]*limit   `yaml:"evictionSoft"`
	EvictionSoftGracePeriod      map[string]*grace   `yaml:"evictionSoftGracePeriod"`
	EvictionMinimumReclaim       map[string]*reclaim `yaml:"evictionMinimumReclaim"`
	MergeDefaultEvictionSettings *bool               `yaml:"mergeDefaultEvictionSettings"`

	HealthzBindAddress       *string `yaml:"healthzBindAddress"`
	HealthzPort              *int    `yaml:"healthzPort"`
	ResolvConf               *string `yaml:"resolvConf"`
	ContainerRuntimeEndpoint *string `yaml:"containerRuntimeEndpoint"`
	TLSCertFile              *string `yaml:"tlsCertFile"`
}

// limit is a threshold without its signal.
type limit struct{ quantity, percent float64 }

func (l *limit) UnmarshalYAML(n *yaml.Node) error {
	v, err := parseLimit(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*l = v
	return nil
}

// reclaim is a limit that may be 0.
type reclaim limit

func (r *reclaim) UnmarshalYAML(n *yaml.Node) error {
	v, err := parseReclaim(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*r = v
	return nil
}

// grace is a duration as Go writes it: 1m30s.
type grace time.Duration

func (g *grace) UnmarshalYAML(n *yaml.Node) error {
	d, err := time.ParseDuration(n.Value)
	if err != nil || d < 0 {
		return fmt.Errorf("line %d: %q is not a period of time", n.Line, n.Value)
	}
	*g = grace(d)
	return nil
}

// merge decodes one file, YAML or JSON, over c.
func (c *config) merge(b []byte) error {
	c.Kind = ""
	dec := yaml.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if c.Kind != "KubeletConfiguration" {
		return fmt.Errorf("line 1: kind is %q, not KubeletConfiguration", c.Kind)
	}
	return nil
}

// defaultEviction sets the thresholds that kubelet assumes where its config file has
// none. A file that has some has no others, unless it wants the two merged. (The
// drop-ins come later, and a kubelet without a config file has none at all.)
func (c *config) defaultEviction() {
	switch {
	case c.EvictionHard == nil:
		c.EvictionHard = defaultEvictionHard()
	case value(c.MergeDefaultEvictionSettings, false):
		set := c.EvictionHard
		c.EvictionHard = defaultEvictionHard()
		maps.Copy(c.EvictionHard, set)
	}
}

// defaultEvictionHard is kubelet's pkg/kubelet/eviction/defaults_linux.go. There is
// none for pid.available.
func defaultEvictionHard() map[string]*limit {
	return map[string]*limit{
		"memory.available":   {quantity: 100 << 20},
		"nodefs.available":   {percent: 10},
		"nodefs.inodesFree":  {percent: 5},
		"imagefs.available":  {percent: 15},
		"imagefs.inodesFree": {percent: 5},
	}
}

// fill sets what c says, or else kubelet's default
// (pkg/kubelet/apis/config/v1beta1/defaults.go).
func (c *config) fill(s *Settings) error {
	s.CgroupRoot = value(c.CgroupRoot, "")
	s.CgroupDriver = value(c.CgroupDriver, "")
	s.CgroupsPerQOS = value(c.CgroupsPerQOS, true)
	s.EnforceNodeAllocatable = c.EnforceNodeAllocatable
	if s.EnforceNodeAllocatable == nil {
		s.EnforceNodeAllocatable = []string{"pods"}
	}
	s.PodPidsLimit = max(value(c.PodPidsLimit, -1), -1)
	s.HealthzAddress = value(c.HealthzBindAddress, "127.0.0.1")
	s.HealthzPort = value(c.HealthzPort, 10248)
	if s.HealthzPort < 0 || s.HealthzPort > 65535 {
		return fmt.Errorf("healthzPort %d is not a port", s.HealthzPort)
	}
	s.ResolvConf = value(c.ResolvConf, "/etc/resolv.conf")
	s.ContainerRuntimeEndpoint = value(c.ContainerRuntimeEndpoint, "unix:///run/containerd/containerd.sock")
	s.TLSCertFile = value(c.TLSCertFile, "")
	s.EvictionHard = thresholds(c.EvictionHard, c.EvictionMinimumReclaim)
	s.EvictionSoft = thresholds(c.EvictionSoft, c.EvictionMinimumReclaim)
	for signal, t := range s.EvictionSoft {
		g := c.EvictionSoftGracePeriod[signal]
		if g == nil {
			return fmt.Errorf("evictionSoft has no grace period for %s: kubelet does not start", signal)
		}
		t.Grace = time.Duration(*g)
		s.EvictionSoft[signal] = t
	}
	return nil
}

// thresholds leaves out what kubelet ignores: null, 0 % and 100 %.
func thresholds(limits map[string]*limit, reclaims map[string]*reclaim) map[string]Threshold {
	ts := make(map[string]Threshold, len(limits))
	for signal, l := range limits {
		if l != nil && (l.quantity > 0 || l.percent > 0 && l.percent < 100) {
			t := Threshold{Signal: signal, Quantity: l.quantity, Percent: l.percent}
			if r := reclaims[signal]; r != nil {
				t.ReclaimQuantity, t.ReclaimPercent = r.quantity, r.percent
			}
			ts[signal] = t
		}
	}
	return ts
}

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// mergeConfig merges the host's file name over c.
func (r *reader) mergeConfig(c *config, name string) error {
	b, err := r.read(name)
	if err != nil {
		return err
	}
	if err := c.merge(b); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// mergeConfigDir merges the files *.conf of a folder and its subfolders in the order
// of their names, as kubelet's WalkDir does.
func (r *reader) mergeConfigDir(c *config, dir string) error {
	if strings.Count(dir, "/") > maxFolders {
		return fmt.Errorf("%s: more than %d folders deep", dir, maxFolders)
	}
	names, err := r.list(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		p := path.Join(dir, name)
		var err error = unix.EISDIR // perhaps
		if path.Ext(name) == ".conf" {
			err = r.mergeConfig(c, p)
		}
		if errors.Is(err, unix.EISDIR) {
			err = r.mergeConfigDir(c, p)
		}
		if err != nil && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
	}
	return nil
}

// maxFolders keeps a circle of links from being walked for ever.
const maxFolders = 40
