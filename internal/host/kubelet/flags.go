package kubelet

// This file reads kubelet's flags: from words, into a config.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// arg is one flag, --name=value; set tells a value apart from none.
type arg struct {
	name, value string
	set         bool
}

// parseFlags finds the flags among words, as kubelet's flag library would: the value
// may be the next word, and an underscore is as good as a hyphen. Kubelet takes no
// other arguments, so what stands before the first flag is a program and its wrappers.
func parseFlags(words []string) []arg {
	var flags []arg
	for i := 0; i < len(words); i++ {
		if !strings.HasPrefix(words[i], "-") {
			continue
		}
		name, val, set := strings.Cut(strings.TrimLeft(words[i], "-"), "=")
		name = strings.ReplaceAll(name, "_", "-")
		if !set && i+1 < len(words) && takesNext(name, words[i+1]) {
			i++
			val, set = words[i], true
		}
		flags = append(flags, arg{name, val, set})
	}
	return flags
}

// takesNext tells whether next is the value of the flag name.
func takesNext(name, next string) bool {
	switch name {
	case "cgroups-per-qos", "rotate-certificates":
		return false // to a boolean only = gives a value
	case "pod-max-pids":
		return true // -1
	}
	return !strings.HasPrefix(next, "-")
}

// setFlags puts the flags over c. A flag for a map or a list clears what the config
// has when it first comes, and adds to itself when it comes again; of others the last
// one counts. from is for messages.
func (c *config) setFlags(flags []arg, from string) error {
	var seen []string
	for _, f := range flags {
		first := !slices.Contains(seen, f.name)
		if err := c.setFlag(f, first); err != nil {
			return fmt.Errorf("%s: flag --%s: %w", from, f.name, err)
		}
		seen = append(seen, f.name)
	}
	return nil
}

func (c *config) setFlag(f arg, first bool) (err error) {
	switch f.name {
	case "cgroup-root":
		c.CgroupRoot = &f.value
	case "cgroup-driver":
		c.CgroupDriver = &f.value
	case "healthz-bind-address":
		c.HealthzBindAddress = &f.value
	case "resolv-conf":
		c.ResolvConf = &f.value
	case "container-runtime-endpoint":
		c.ContainerRuntimeEndpoint = &f.value
	case "tls-cert-file":
		c.TLSCertFile = &f.value
	case "cgroups-per-qos":
		c.CgroupsPerQOS, err = boolFlag(f)
	case "pod-max-pids":
		var n int64
		n, err = strconv.ParseInt(f.value, 10, 64)
		c.PodPidsLimit = &n
	case "healthz-port":
		var n int
		n, err = strconv.Atoi(f.value)
		c.HealthzPort = &n
	case "enforce-node-allocatable":
		if first {
			c.EnforceNodeAllocatable = []string{}
		}
		if f.value != "" {
			c.EnforceNodeAllocatable = append(c.EnforceNodeAllocatable, strings.Split(f.value, ",")...)
		}
	case "eviction-hard":
		err = mapFlag(&c.EvictionHard, f.value, "<", first, parseLimit)
	case "eviction-soft":
		err = mapFlag(&c.EvictionSoft, f.value, "<", first, parseLimit)
	case "eviction-minimum-reclaim":
		err = mapFlag(&c.EvictionMinimumReclaim, f.value, "=", first, parseReclaim)
	case "eviction-soft-grace-period":
		err = mapFlag(&c.EvictionSoftGracePeriod, f.value, "=", first, func(s string) (grace, error) {
			d, err := time.ParseDuration(s)
			return grace(d), err
		})
	}
	return err
}

func boolFlag(f arg) (*bool, error) {
	if !f.set {
		yes := true
		return &yes, nil
	}
	b, err := strconv.ParseBool(f.value)
	return &b, err
}

// mapFlag reads key<value,key<value into m; sep is what stands for <.
func mapFlag[V any](m *map[string]*V, s, sep string, first bool, parse func(string) (V, error)) error {
	if first || *m == nil {
		*m = map[string]*V{}
	}
	for pair := range strings.SplitSeq(s, ",") {
		if pair == "" {
			continue
		}
		key, val, ok := strings.Cut(pair, sep)
		if !ok {
			return fmt.Errorf("%q has no %q", pair, sep)
		}
		v, err := parse(strings.TrimSpace(val))
		if err != nil {
			return err
		}
		(*m)[strings.TrimSpace(key)] = &v
	}
	return nil
}
