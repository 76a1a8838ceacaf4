package kubelet

// This file reads how long kubelet's certificates are good for. Their files, and
// the kubeconfig, hold private keys as well: those are not looked at, and what was
// read is wiped.

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/host"
)

// Certificate is one that kubelet uses.
type Certificate struct {
	File string // where it is on the host
	// Client: by it kubelet proves to the API server who it is. Else it serves with it.
	Client bool
	// SelfSigned: kubelet made it itself, for serving, for want of another; it is
	// good for a year, never renewed, and hardly anybody checks it.
	SelfSigned          bool
	NotBefore, NotAfter time.Time
	Err                 error // why the dates are not known
}

// Certificates are the ones that kubelet has files of: it may have none, where a
// plug-in or a token speaks for it.
func Certificates(h *host.Host, s Settings) []Certificate {
	r := &reader{h: h}
	var all []Certificate
	if c, ok := r.clientCertificate(s); ok {
		all = append(all, c)
	}
	serving := Certificate{File: s.TLSCertFile}
	if serving.File == "" {
		serving.File = s.CertDir + "/kubelet-server-current.pem"
		if !r.exists(serving.File) {
			serving = Certificate{File: s.CertDir + "/kubelet.crt", SelfSigned: true}
		}
	}
	if r.exists(serving.File) {
		r.readCertificate(&serving)
		all = append(all, serving)
	}
	return all
}

// clientCertificate is the one in the kubeconfig, or that it names; where it has
// none, the one that kubelet itself renews.
func (r *reader) clientCertificate(s Settings) (Certificate, bool) {
	c := Certificate{File: s.CertDir + "/kubelet-client-current.pem", Client: true}
	if s.KubeConfig != "" && r.exists(s.KubeConfig) {
		b, err := r.read(s.KubeConfig)
		if err != nil {
			return Certificate{File: s.KubeConfig, Client: true, Err: err}, true
		}
		file, data, err := parseKubeConfigUser(b)
		clear(b)
		switch {
		case err != nil:
			return Certificate{File: s.KubeConfig, Client: true, Err: err}, true
		case len(data) > 0:
			c.File = s.KubeConfig
			c.NotBefore, c.NotAfter, c.Err = parseCertificate(data)
			return c, true
		case file != "":
			if !path.IsAbs(file) {
				file = path.Join(path.Dir(s.KubeConfig), file)
			}
			c.File = file
			r.readCertificate(&c)
			return c, true
		}
	}
	if !r.exists(c.File) {
		return c, false
	}
	r.readCertificate(&c)
	return c, true
}

func (r *reader) readCertificate(c *Certificate) {
	b, err := r.read(c.File)
	if err != nil {
		c.Err = err
		return
	}
	c.NotBefore, c.NotAfter, c.Err = parseCertificate(b)
	clear(b)
}

// parseCertificate is the validity of the first certificate in PEM blocks: the
// others are those of the authorities above it.
func parseCertificate(b []byte) (notBefore, notAfter time.Time, err error) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return notBefore, notAfter, errors.New("it holds no whole certificate in PEM")
		}
		if block.Type != "CERTIFICATE" {
			clear(block.Bytes)
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return notBefore, notAfter, err
		}
		return c.NotBefore, c.NotAfter, nil
	}
}

// parseKubeConfigUser is the certificate of the current context's user: its file, or
// itself.
func parseKubeConfigUser(b []byte) (file string, data []byte, err error) {
	var c struct {
		Current  string `yaml:"current-context"`
		Contexts []struct {
			Name    string `yaml:"name"`
			Context struct {
				User string `yaml:"user"`
			} `yaml:"context"`
		} `yaml:"contexts"`
		Users []struct {
			Name string `yaml:"name"`
			User struct {
				Certificate     string `yaml:"client-certificate"`
				CertificateData string `yaml:"client-certificate-data"`
			} `yaml:"user"`
		} `yaml:"users"`
	}
	if yaml.Unmarshal(b, &c) != nil {
		return "", nil, errors.New("not a kubeconfig") // the library's error quotes what may be a key
	}
	for _, ctx := range c.Contexts {
		for _, u := range c.Users {
			if ctx.Name != c.Current || u.Name != ctx.Context.User {
				continue
			}
			if data, err = base64.StdEncoding.DecodeString(u.User.CertificateData); err != nil {
				return "", nil, fmt.Errorf("client-certificate-data: %w", err)
			}
			return u.User.Certificate, data, nil
		}
	}
	return "", nil, nil
}
