package kubelet

// This file knows where each distribution keeps its kubelet's flags.

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const defaultConfig = "/var/lib/kubelet/config.yaml"

// found is a source that cannot be read because of err, if that is not nil; or none.
func found(distribution string, err error) (*source, error) {
	if err == nil {
		return nil, nil
	}
	return &source{distribution: distribution}, err
}

// systemdUnit is kubelet as a service of its own: kubeadm and most others. From a
// wrapper script nothing can be learned, but for kubeadm's config file beside it.
func systemdUnit(r *reader) (*source, error) {
	cmd, err := r.unit("kubelet.service")
	if err != nil {
		return found("kubelet", err)
	}
	if len(cmd.words) == 0 {
		return nil, nil
	}
	src := &source{distribution: "kubelet", flags: parseFlags(cmd.words), flagsFrom: cmd.from}
	known := slices.ContainsFunc(cmd.words, func(w string) bool {
		w = path.Base(strings.TrimLeft(w, "-@:+!"))
		return w == "kubelet" || w == "hyperkube"
	})
	if !known && r.exists(defaultConfig) {
		src.flags = append([]arg{{"config", defaultConfig, true}}, src.flags...)
	}
	return src, nil
}

// kubeadmFiles is a kubelet that something other than systemd starts, with the files
// where kubeadm has them.
func kubeadmFiles(r *reader) (*source, error) {
	if !r.exists(defaultConfig) {
		return nil, nil
	}
	const flagsFile = "/var/lib/kubelet/kubeadm-flags.env"
	b, _, err := r.readIfThere(flagsFile)
	if err != nil {
		return found("kubelet", err)
	}
	words := splitWords(parseEnvFile(b)["KUBELET_KUBEADM_ARGS"])
	flags := append([]arg{{"config", defaultConfig, true}}, parseFlags(expand(words, nil))...)
	return &source{distribution: "kubelet", flags: flags, flagsFrom: flagsFile}, nil
}

// k0s starts kubelet as a process of its own, on all nodes but those that are only
// controllers (pkg/component/worker/kubelet.go of k0s).
func k0s(r *reader) (*source, error) {
	for _, unit := range []string{"k0sworker.service", "k0scontroller.service"} {
		cmd, err := r.unit(unit)
		if err != nil {
			return found("k0s", err)
		}
		data, extra := "/var/lib/k0s", ""
		for _, f := range parseFlags(cmd.words) {
			switch f.name {
			case "data-dir":
				data = f.value
			case "kubelet-extra-args":
				extra = f.value
			}
		}
		config := data + "/kubelet-config.yaml"
		if len(cmd.words) == 0 || unit == "k0scontroller.service" && !r.exists(config) {
			continue
		}
		src := &source{distribution: "k0s", flagsFrom: cmd.from, flags: []arg{
			{"config", config, true},
			{"root-dir", data + "/kubelet", true},
			{"cert-dir", data + "/kubelet/pki", true},
			{"kubeconfig", data + "/kubelet.conf", true},
			{"container-runtime-endpoint", "unix:///run/k0s/containerd.sock", true},
		}}
		src.flags = append(src.flags, parseFlags(expand(splitWords(extra), nil))...)
		return src, nil
	}
	return nil, nil
}

// microk8s keeps one flag a line in a file of its snap.
func microk8s(r *reader) (*source, error) {
	const args = "/var/snap/microk8s/current/args/kubelet"
	b, ok, err := r.readIfThere(args)
	if err != nil || !ok {
		return found("microk8s", err)
	}
	env := map[string]string{
		"SNAP": "/snap/microk8s/current", "SNAP_DATA": "/var/snap/microk8s/current", "SNAP_COMMON": "/var/snap/microk8s/common",
	}
	var words []string
	for _, line := range logicalLines(string(b)) {
		for _, w := range splitWords(line) {
			words = append(words, expandBraces(w.text, env))
		}
	}
	return &source{distribution: "microk8s", flags: parseFlags(words), flagsFrom: args}, nil
}

// rancher is k3s or rke2, which start kubelet themselves: with their own defaults,
// which newer ones (1.32) write to a folder of drop-ins, and with kubelet-arg from
// their config files and from their unit's command line.
func rancher(name string) func(*reader) (*source, error) {
	return func(r *reader) (*source, error) {
		cmd, err := r.rancherCommand(name)
		if err != nil {
			return nil, err
		}
		data := "/var/lib/rancher/" + name
		if len(cmd.words) == 0 && !r.exists(data+"/agent/kubelet.kubeconfig") {
			return nil, nil
		}
		opts, err := r.rancherConfig(name)
		if err != nil {
			return found(name, err)
		}
		opts.setFlags(parseFlags(cmd.words))

		src := &source{distribution: name, dataDir: opts.last("data-dir", data)}
		src.defaults = rancherDefaults(opts)
		serving := src.dataDir + "/agent/serving-kubelet.crt"
		src.defaults.TLSCertFile = &serving
		var words []string
		for _, arg := range opts["kubelet-arg"] {
			words = append(words, "--"+strings.TrimLeft(arg, "-"))
		}
		src.flags = parseFlags(words)
		src.flagsFrom = fmt.Sprintf("kubelet-arg of %s", name)
		// k3s copies what its --config and --config-dir name into that folder.
		if dir := src.dataDir + "/agent/etc/kubelet.conf.d"; r.exists(dir) {
			src.flags = slices.DeleteFunc(src.flags, func(f arg) bool { return f.name == "config" || f.name == "config-dir" })
			src.flags = append(src.flags, arg{"config-dir", dir, true})
		}
		return src, nil
	}
}

// rancherCommand is the command line of the unit that the node has: k3s.service and
// k3s-agent.service, or rke2-server.service and rke2-agent.service.
func (r *reader) rancherCommand(name string) (command, error) {
	for _, unit := range []string{name, name + "-server", name + "-agent"} {
		cmd, err := r.unit(unit + ".service")
		if err != nil || len(cmd.words) > 0 {
			return cmd, err
		}
	}
	return command{}, nil
}

// rancherDefaults is what differs from kubelet's own (pkg/daemons/agent of k3s).
func rancherDefaults(opts options) config {
	endpoint := "unix:///run/k3s/containerd/containerd.sock"
	if opts.last("docker", "") == "true" {
		endpoint = "unix:///run/k3s/cri-dockerd/cri-dockerd.sock"
	}
	endpoint = opts.last("container-runtime-endpoint", endpoint)
	if !strings.Contains(endpoint, "://") {
		endpoint = "unix://" + endpoint
	}
	c := config{
		EvictionHard:             map[string]*limit{"imagefs.available": {percent: 5}, "nodefs.available": {percent: 5}},
		ContainerRuntimeEndpoint: &endpoint,
	}
	if conf := opts.last("resolv-conf", ""); conf != "" {
		c.ResolvConf = &conf
	}
	return c
}

// options is what k3s and rke2 are told, in the order in which it counts.
type options map[string][]string

func (o options) last(name, otherwise string) string {
	if v := o[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return otherwise
}

// setFlags puts the command line over the config files; a list replaces theirs.
func (o options) setFlags(flags []arg) {
	cmdline := options{}
	for _, f := range flags {
		if f.name == "d" {
			f.name = "data-dir"
		}
		if !f.set {
			f.value = "true"
		}
		cmdline[f.name] = append(cmdline[f.name], f.value)
	}
	for name, values := range cmdline {
		o[name] = values
	}
}

// rancherConfig reads /etc/rancher/NAME/config.yaml and the files beside it in
// config.yaml.d, of which a later one replaces what an earlier one says, or adds to it
// if the key ends in +.
func (r *reader) rancherConfig(name string) (options, error) {
	base := "/etc/rancher/" + name + "/config.yaml"
	files := []string{base}
	names, err := r.listIfThere(base + ".d")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if ext := path.Ext(n); ext == ".yaml" || ext == ".yml" {
			files = append(files, path.Join(base+".d", n))
		}
	}
	opts := options{}
	for _, f := range files {
		b, _, err := r.readIfThere(f)
		if err != nil {
			return nil, err
		}
		var doc map[string]stringOrList
		if err := yaml.Unmarshal(b, &doc); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		for _, key := range slices.Sorted(maps.Keys(doc)) { // key, then key+
			values := doc[key]
			if key, adds := strings.CutSuffix(key, "+"); adds {
				opts[key] = append(opts[key], values...)
			} else {
				opts[key] = values
			}
		}
	}
	return opts, nil
}

// stringOrList takes one value as a list of one; a nested map is none of our business.
type stringOrList []string

func (l *stringOrList) UnmarshalYAML(n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		*l = stringOrList{n.Value}
	case yaml.SequenceNode:
		var list []string
		if err := n.Decode(&list); err != nil {
			return err
		}
		*l = list
	}
	return nil
}
