package kube

// This file reads a kubeconfig
// (kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig,
// reference k8s.io/client-go/tools/clientcmd/api/v1). clientcmd itself would bring
// 3 MB of memory with it.

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/transport"
)

type kubeconfig struct {
	Current  string `yaml:"current-context"`
	Contexts []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
			User    string `yaml:"user"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	Clusters []struct {
		Name    string  `yaml:"name"`
		Cluster cluster `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string `yaml:"name"`
		User user   `yaml:"user"`
	} `yaml:"users"`
}

type cluster struct {
	Server     string `yaml:"server"`
	ServerName string `yaml:"tls-server-name"`
	Insecure   bool   `yaml:"insecure-skip-tls-verify"`
	CA         string `yaml:"certificate-authority"`
	CAData     string `yaml:"certificate-authority-data"`
	Proxy      string `yaml:"proxy-url"`
}

type user struct {
	Cert     string   `yaml:"client-certificate"`
	CertData string   `yaml:"client-certificate-data"`
	Key      string   `yaml:"client-key"`
	KeyData  string   `yaml:"client-key-data"`
	Token    string   `yaml:"token"`
	File     string   `yaml:"tokenFile"`
	As       string   `yaml:"as"`
	AsGroups []string `yaml:"as-groups"`
	Name     string   `yaml:"username"`
	Password string   `yaml:"password"`
	Provider *struct {
		Name string `yaml:"name"`
	} `yaml:"auth-provider"`
	Exec *struct {
		Command string `yaml:"command"`
	} `yaml:"exec"`
}

// parseKubeconfig reads the current context of the kubeconfig in the folder dir,
// against which its paths are resolved. Errors quote nothing that may be a key.
func parseKubeconfig(raw []byte, dir string) (endpoint, error) {
	var k kubeconfig
	if yaml.Unmarshal(raw, &k) != nil {
		return endpoint{}, errors.New("it is not a kubeconfig")
	}
	c, u, err := k.current()
	if err != nil {
		return endpoint{}, err
	}
	switch {
	case u.Exec != nil:
		return endpoint{}, &neverError{fmt.Sprintf("it runs a program (exec: %s) to get its credentials, which the agent never does, since a node in "+
			"trouble may not be able to start one: use one with a client certificate, a token or a tokenFile", u.Exec.Command)}
	case u.Provider != nil:
		return endpoint{}, &neverError{fmt.Sprintf("it uses the auth-provider %q, which the agent does not know: "+
			"use one with a client certificate, a token or a tokenFile", u.Provider.Name)}
	}
	server, err := url.Parse(c.Server)
	if err != nil || server.Hostname() == "" || server.Scheme != "https" && server.Scheme != "http" {
		return endpoint{}, errors.New("the current context's cluster has no usable server")
	}
	in := func(path string) string {
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	e := endpoint{server: server, proxy: http.ProxyFromEnvironment}
	e.config = transport.Config{
		Username: u.Name, Password: u.Password, BearerToken: u.Token, BearerTokenFile: in(u.File),
		Impersonate: transport.ImpersonationConfig{UserName: u.As, Groups: u.AsGroups},
		TLS: transport.TLSConfig{
			ServerName: c.ServerName, Insecure: c.Insecure, CAFile: in(c.CA), CertFile: in(u.Cert), KeyFile: in(u.Key),
		},
	}
	t := &e.config.TLS
	for _, d := range []struct {
		text string
		into *[]byte
	}{{c.CAData, &t.CAData}, {u.CertData, &t.CertData}, {u.KeyData, &t.KeyData}} {
		if *d.into, err = base64.StdEncoding.DecodeString(d.text); err != nil {
			return endpoint{}, errors.New("its certificate data is not base64")
		}
	}
	if c.Proxy != "" {
		proxy, err := url.Parse(c.Proxy)
		if err != nil || proxy.Hostname() == "" {
			return endpoint{}, errors.New("the current context's cluster has no usable proxy-url")
		}
		e.proxy = http.ProxyURL(proxy)
	}
	return e, nil
}

// current are the cluster and the user of the current context.
func (k kubeconfig) current() (c cluster, u user, err error) {
	for _, ctx := range k.Contexts {
		if ctx.Name != k.Current {
			continue
		}
		found := false
		for _, n := range k.Clusters {
			if n.Name == ctx.Context.Cluster {
				c, found = n.Cluster, true
			}
		}
		for _, n := range k.Users {
			if n.Name == ctx.Context.User {
				u = n.User
			}
		}
		if !found {
			return c, u, errors.New("the current context names no cluster")
		}
		return c, u, nil
	}
	return c, u, errors.New("it has no current context")
}
