package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// User is someone who has a client certificate of the cluster's authority.
type User struct {
	Name  string
	Group string
	// For is how long the certificate is good for; 0 for a day.
	For time.Duration
}

// Admin may do everything.
func Admin() User { return User{Name: "admin", Group: "system:masters"} }

// Kubelet is the kubelet of a node.
func Kubelet(node string) User { return User{Name: "system:node:" + node, Group: "system:nodes"} }

// keys are the cluster's authority and what it has signed, as files.
type keys struct {
	dir    string
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func (k *keys) path(name string) string { return filepath.Join(k.dir, name) }

func newKeys(dir string) (*keys, error) {
	k := &keys{dir: dir}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	raw, key, err := k.sign("ca", template, 24*time.Hour)
	if err != nil {
		return nil, err
	}
	k.key = key
	if k.ca, err = x509.ParseCertificate(raw); err != nil {
		return nil, err
	}
	server := &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)}, // the second is the service's
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if _, _, err := k.sign("server", server, 24*time.Hour); err != nil {
		return nil, err
	}
	_, _, err = k.sign("tokens", &x509.Certificate{}, 24*time.Hour) // only its key is used
	return k, err
}

// sign makes NAME.crt and NAME.key. Without an authority it signs itself.
func (k *keys) sign(name string, c *x509.Certificate, life time.Duration) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	k.serial++
	c.SerialNumber = big.NewInt(k.serial)
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(life)
	parent, by := k.ca, k.key
	if parent == nil {
		parent, by = c, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	if err := write(k.path(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})); err != nil {
		return nil, nil, err
	}
	return raw, key, write(k.path(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// certificate makes a client certificate, and returns its files' name.
func (p *Plane) certificate(u User) (string, error) {
	name := "user-" + strings.ReplaceAll(u.Name, ":", "-")
	if u.For == 0 {
		u.For = 24 * time.Hour
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: u.Name, Organization: []string{u.Group}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	_, _, err := p.keys.sign(name, template, u.For)
	return name, err
}

// Client is an HTTP client that comes as u.
func (p *Plane) Client(u User) (*http.Client, error) {
	name, err := p.certificate(u)
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(p.keys.path(name+".crt"), p.keys.path(name+".key"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.keys.ca)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}}}, nil
}

// TokenClient is an HTTP client that comes with a token.
func (p *Plane) TokenClient(token string) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(p.keys.ca)
	return &http.Client{Transport: bearer{token, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}}
}

type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// Kubeconfig writes one for u, with a new client certificate in files of its own,
// and returns its path.
func (p *Plane) Kubeconfig(u User) (string, error) {
	name, err := p.certificate(u)
	if err != nil {
		return "", err
	}
	return p.kubeconfig(name, fmt.Sprintf("client-certificate: %s.crt, client-key: %s.key", name, name))
}

// TokenKubeconfig writes one that reads a token from a file beside it, and returns
// both paths.
func (p *Plane) TokenKubeconfig(name, token string) (path, tokenFile string, err error) {
	tokenFile = p.keys.path(name + ".token")
	if err := write(tokenFile, []byte(token)); err != nil {
		return "", "", err
	}
	path, err = p.kubeconfig(name, "tokenFile: "+name+".token")
	return path, tokenFile, err
}

func (p *Plane) kubeconfig(name, user string) (string, error) {
	path := p.keys.path(name + ".kubeconfig")
	return path, write(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: %q, certificate-authority: ca.crt}}]
users: [{name: test, user: {%s}}]
`, p.URL, user))
}
