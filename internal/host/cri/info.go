package cri

// This file: what the runtimes tell of their configuration to people who debug
// them (crictl info). No specification covers it, so that each part may be absent.

import "encoding/json"

// criConfig is the part of containerd's "config" that is used here, of 1.x and 2.x
// (pkg/cri/config, internal/cri/config).
type criConfig struct {
	Containerd struct {
		DefaultRuntimeName string `json:"defaultRuntimeName"`
		Runtimes           map[string]struct {
			Options struct {
				SystemdCgroup *bool `json:"SystemdCgroup"`
			} `json:"options"`
		} `json:"runtimes"`
	} `json:"containerd"`
	CNI struct {
		BinDir  string   `json:"binDir"`
		BinDirs []string `json:"binDirs"`
		ConfDir string   `json:"confDir"`
	} `json:"cni"`
	// SystemdCgroup is that of containerd 1.2 and before.
	SystemdCgroup     bool   `json:"systemdCgroup"`
	ContainerdRootDir string `json:"containerdRootDir"`
}

// parseInfo reads the info of a verbose status.
func parseInfo(info map[string]string) (s Setup) {
	var c criConfig
	if raw := info["config"]; raw == "" || json.Unmarshal([]byte(raw), &c) != nil {
		return s
	}
	s.Root, s.CNIConfDir = bounded(c.ContainerdRootDir), bounded(c.CNI.ConfDir)
	for _, d := range append(c.CNI.BinDirs, c.CNI.BinDir) {
		if d != "" && len(s.CNIBinDirs) < maxBinDirs {
			s.CNIBinDirs = append(s.CNIBinDirs, bounded(d))
		}
	}
	if r, ok := c.Containerd.Runtimes[c.Containerd.DefaultRuntimeName]; ok {
		s.CgroupDriver = "cgroupfs" // runc's default where the option is not set
		if c.SystemdCgroup || r.Options.SystemdCgroup != nil && *r.Options.SystemdCgroup {
			s.CgroupDriver = "systemd"
		}
	}
	var loaded string
	if raw := info["lastCNILoadStatus"]; json.Unmarshal([]byte(raw), &loaded) != nil {
		loaded = raw
	}
	if loaded != "OK" {
		s.CNIError = bounded(loaded)
	}
	return s
}

// maxBinDirs is how many folders of plugins are looked through at most.
const maxBinDirs = 8
