package cni

// This file: which of the node's files is the network configuration, and whether
// its plugins are there.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/nodevitals/nodevitals/internal/host"
)

// Folders are where the configuration and the plugins are, on the host.
type Folders struct {
	Conf string
	Bin  []string
}

// Usual are the folders that a distribution (of the package kubelet) uses, for
// where the runtime does not say.
func Usual(h *host.Host, distribution, dataDir string) Folders {
	conf := []string{"/etc/cni/net.d"}
	bin := []string{"/opt/cni/bin"}
	switch distribution {
	case "k3s", "rke2":
		conf = []string{path.Join(dataDir, "agent/etc/cni/net.d"), "/etc/cni/net.d"}
		bin = []string{path.Join(dataDir, "data/cni"), path.Join(dataDir, "data/current/bin"), "/opt/cni/bin"}
	case "microk8s":
		conf = []string{"/var/snap/microk8s/current/args/cni-network"}
		bin = []string{"/var/snap/microk8s/current/opt/cni/bin", "/snap/microk8s/current/opt/cni/bin", "/opt/cni/bin"}
	default:
		// OpenShift, whose first folder holds what multus reads; GKE; Debian; Fedora.
		conf = append([]string{"/etc/kubernetes/cni/net.d"}, conf...)
		bin = append(bin, "/var/lib/cni/bin", "/home/kubernetes/bin", "/usr/libexec/cni", "/usr/lib/cni")
	}
	f := Folders{Conf: conf[len(conf)-1], Bin: bin}
	for _, dir := range conf {
		if names, err := confFiles(h, dir); err == nil && len(names) > 0 {
			f.Conf = dir
			break
		}
	}
	return f
}

// Config is the network configuration that the runtime uses.
type Config struct {
	File    string // on the host
	Network Network
	// Missing are plugins without a program in any of the folders, Present those
	// that have one: none at all may mean that the folders are the wrong ones.
	Missing, Present []string
}

// maxConf is the most that a configuration may have, in bytes.
const maxConf = 1 << 20

// ErrNoConfig says that the folder holds no configuration.
var ErrNoConfig = errors.New("no network configuration")

// Load reads the configuration that runtimes take: the first file by name. An error
// names the file that is wrong.
func Load(h *host.Host, f Folders) (Config, error) {
	names, err := confFiles(h, f.Conf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Config{}, err
	}
	if len(names) == 0 {
		return Config{}, fmt.Errorf("%w in %s", ErrNoConfig, f.Conf)
	}
	c := Config{File: path.Join(f.Conf, names[0])}
	b, err := h.ReadFile(c.File)
	if err == nil && len(b) > maxConf {
		err = errors.New("it is larger than 1 MiB")
	}
	if err == nil {
		c.Network, err = Parse(b)
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", c.File, err)
	}
	for _, p := range c.Network.Plugins {
		c.look(h, f.Bin, p.Type)
		if p.IPAM != nil {
			c.look(h, f.Bin, p.IPAM.Type)
		}
	}
	return c, nil
}

func (c *Config) look(h *host.Host, dirs []string, plugin string) {
	to := &c.Missing
	if slices.ContainsFunc(dirs, func(dir string) bool {
		info, err := os.Stat(h.Locate(path.Join(dir, plugin)))
		// One that we may not look at may be there.
		return err == nil && info.Mode().IsRegular() || err != nil && !errors.Is(err, fs.ErrNotExist)
	}) {
		to = &c.Present
	}
	if !slices.Contains(*to, plugin) {
		*to = append(*to, plugin)
	}
}

// confFiles are the names of the configurations in a folder, in the order in which
// runtimes take them (libcni.ConfFiles).
func confFiles(h *host.Host, dir string) ([]string, error) {
	names, err := h.ReadDirNames(dir)
	names = slices.DeleteFunc(names, func(n string) bool {
		switch path.Ext(n) {
		case ".conf", ".conflist", ".json":
			return false
		}
		return true
	})
	slices.Sort(names)
	return names, err
}
