package kubelet

// This file finds out where kubelet's API server is. Of its kubeconfig, which
// also holds keys, nothing else is kept.

import (
	"errors"
	"fmt"
	"net/url"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/host"
)

// APIServer is the URL of the API server that kubelet talks to. A kubelet without
// a kubeconfig has none: the URL and the error are nil.
func APIServer(h *host.Host, s Settings) (*url.URL, error) {
	if s.KubeConfig == "" {
		return nil, nil
	}
	r := &reader{h: h}
	b, err := r.read(s.KubeConfig)
	if err != nil {
		return nil, err
	}
	server, err := parseKubeConfig(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.KubeConfig, err)
	}
	return server, nil
}

// parseKubeConfig is the server of the current context's cluster
// (kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig).
func parseKubeConfig(b []byte) (*url.URL, error) {
	var c struct {
		Current  string `yaml:"current-context"`
		Contexts []struct {
			Name    string `yaml:"name"`
			Context struct {
				Cluster string `yaml:"cluster"`
			} `yaml:"context"`
		} `yaml:"contexts"`
		Clusters []struct {
			Name    string `yaml:"name"`
			Cluster struct {
				Server string `yaml:"server"`
			} `yaml:"cluster"`
		} `yaml:"clusters"`
	}
	if yaml.Unmarshal(b, &c) != nil {
		return nil, errors.New("not a kubeconfig") // the library's error quotes what may be a key
	}
	for _, ctx := range c.Contexts {
		if ctx.Name != c.Current {
			continue
		}
		for _, cl := range c.Clusters {
			if cl.Name != ctx.Context.Cluster {
				continue
			}
			u, err := url.Parse(cl.Cluster.Server)
			if err != nil || u.Hostname() == "" {
				return nil, errors.New("the current context's cluster has no usable server")
			}
			u.User = nil
			return u, nil
		}
	}
	return nil, errors.New("the current context names no cluster")
}
