package probes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// certificate makes one, with its key before it, as kubelet keeps them.
func certificate(t *testing.T, from, until time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

const (
	certDir    = "/var/lib/kubelet/pki"
	clientPEM  = certDir + "/kubelet-client-current.pem"
	servingPEM = certDir + "/kubelet-server-current.pem"
	day        = 24 * time.Hour
)

func TestCertificates(t *testing.T) {
	now := time.Now()
	left := func(life, left time.Duration) string { return certificate(t, now.Add(left-life), now.Add(left)) }
	fresh := left(365*day, 300*day)
	for _, tc := range []struct {
		name    string
		files   map[string]string
		subject string
		want    problem.Severity
		says    string
		refused bool
	}{
		{"fresh", map[string]string{clientPEM: fresh, servingPEM: fresh}, clientPEM, 0, "", false},
		{"a year's last month", map[string]string{clientPEM: left(365*day, 29*day)}, clientPEM, 0, "", false},
		{"nearly expired", map[string]string{clientPEM: left(365*day, 6*day)}, clientPEM, problem.Warning, "client certificate is good only until", false},
		{"last day", map[string]string{clientPEM: left(365*day, 20*time.Hour)}, clientPEM, problem.Critical, "good only until", false},
		{"expired", map[string]string{clientPEM: left(365*day, -time.Hour)}, clientPEM, problem.Critical, "has expired", true},
		{"serving expired", map[string]string{clientPEM: fresh, servingPEM: left(365*day, -time.Hour)}, servingPEM, problem.Critical, "serving certificate has expired", true},
		{"not yet good", map[string]string{clientPEM: certificate(t, now.Add(time.Hour), now.Add(day))}, clientPEM, problem.Critical, "is the clock right?", true},
		{"short-lived, fresh", map[string]string{clientPEM: left(time.Hour, 40*time.Minute)}, clientPEM, 0, "", false},
		{"short-lived, late", map[string]string{clientPEM: left(time.Hour, 5*time.Minute)}, clientPEM, problem.Warning, "good only until", false},
		{"short-lived, last", map[string]string{clientPEM: left(time.Hour, 2*time.Minute)}, clientPEM, problem.Critical, "good only until", false},
		{"self-signed", map[string]string{certDir + "/kubelet.crt": left(365*day, -day)}, certDir + "/kubelet.crt", problem.Info, "self-signed", false},
		{"self-signed, not used", map[string]string{servingPEM: fresh, certDir + "/kubelet.crt": left(365*day, -day)}, certDir + "/kubelet.crt", 0, "", false},
		{"truncated", map[string]string{clientPEM: fresh[:len(fresh)-100]}, clientPEM, problem.Warning, "client certificate cannot be read: it holds no whole certificate", false},
		{"damaged", map[string]string{clientPEM: strings.Replace(fresh, "CERTIFICATE-----\nMI", "CERTIFICATE-----\nAB", 1)}, clientPEM, problem.Warning, "cannot be read", false},
		{"empty", map[string]string{clientPEM: ""}, clientPEM, problem.Warning, "cannot be read", false},
		{"in the kubeconfig", map[string]string{
			"/etc/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet --kubeconfig=/etc/kubernetes/kubelet.conf\n",
			"/etc/kubernetes/kubelet.conf": "current-context: a\ncontexts: [{name: a, context: {user: u}}]\nusers:\n- name: u\n  user:\n    client-certificate-data: " +
				base64.StdEncoding.EncodeToString([]byte(left(365*day, -day))) + "\n",
			clientPEM: fresh,
		}, "/etc/kubernetes/kubelet.conf", problem.Critical, "expired", true},
		{"beside the kubeconfig", map[string]string{
			"/etc/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet --kubeconfig=/etc/kubernetes/kubelet.conf\n",
			"/etc/kubernetes/kubelet.conf":        "current-context: a\ncontexts: [{name: a, context: {user: u}}]\nusers: [{name: u, user: {client-certificate: own.pem}}]\n",
			"/etc/kubernetes/own.pem":             left(365*day, -day),
		}, "/etc/kubernetes/own.pem", problem.Critical, "expired", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.files["/var/lib/kubelet/config.yaml"] = "kind: KubeletConfiguration\n"
			r, err := NewCertificates().Run(t.Context(), tree(t, tc.files))
			if err != nil {
				t.Fatal(err)
			}
			v := checkSeverity(t, r, problem.KubeletCertificateExpiring, tc.subject, tc.want)
			if !strings.Contains(v.Message, tc.says) || v.Refused != tc.refused {
				t.Errorf("%+v", v)
			}
			if tc.want == 0 && len(r.Verdicts) > 0 {
				t.Errorf("not silent: %+v", r.Verdicts)
			}
		})
	}
}

// TestCertificateLink: kubelet's own is an absolute link, below the host's root.
func TestCertificateLink(t *testing.T) {
	n := tree(t, map[string]string{
		"/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n",
		certDir + "/of-today.pem":      certificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Minute)),
	})
	if err := os.Symlink(certDir+"/of-today.pem", filepath.Join(n.Host.Root(), clientPEM)); err != nil {
		t.Fatal(err)
	}
	r, err := NewCertificates().Run(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	checkSeverity(t, r, problem.KubeletCertificateExpiring, clientPEM, problem.Critical)
}

func TestCertificatesNotApplicable(t *testing.T) {
	var na *problem.NotApplicableError
	for _, files := range []map[string]string{nil, {"/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n"}} {
		if _, err := NewCertificates().Run(t.Context(), tree(t, files)); !errors.As(err, &na) {
			t.Errorf("%v", err)
		}
	}
}
