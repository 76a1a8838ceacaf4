package probes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Certificates watches how long kubelet's certificates are still good for.
type Certificates struct{ Thresholds CertificatesThresholds }

// CertificatesThresholds are the thresholds of Certificates.
type CertificatesThresholds struct {
	Warning  Left `yaml:"warning"`
	Critical Left `yaml:"critical"`
}

// Left is how much of a certificate's life is too little: less than Time, and less
// than Share, in percent, of the whole.
type Left struct {
	// Time is how long it must be good for, if that is less than Share comes to.
	Time time.Duration `yaml:"time"`
	// Share is how much of its life must be left, in percent, if that is less than Time.
	Share float64 `yaml:"share"`
}

// of is what Left comes to for a certificate that is good for life.
func (l Left) of(life time.Duration) time.Duration {
	return min(l.Time, time.Duration(l.Share/100*float64(life)))
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t CertificatesThresholds) Validate() error {
	if t.Warning.Time < t.Critical.Time || t.Warning.Share < t.Critical.Share || t.Critical.Time < 0 || t.Critical.Share < 0 || t.Warning.Share > 100 {
		return errors.New("warning must not be less than critical, neither below 0, and shares are in percent")
	}
	return nil
}

// NewCertificates is the probe with its default thresholds.
func NewCertificates() *Certificates {
	return &Certificates{CertificatesThresholds{
		// kubelet asks for a new one when 10 to 30 % of its life are left, so that with
		// less it has failed for a while. Of a year that would be a month: a week is
		// early enough to act.
		Warning: Left{Time: 7 * 24 * time.Hour, Share: 10},
		// The last day; of one that is good for some hours, the last minutes.
		Critical: Left{Time: 24 * time.Hour, Share: 5},
	}}
}

// Name implements Probe.
func (*Certificates) Name() string { return "certificates" }

// Kinds implements Probe.
func (*Certificates) Kinds() []problem.Kind {
	return []problem.Kind{problem.KubeletCertificateExpiring}
}

// Run implements Probe.
func (p *Certificates) Run(_ context.Context, n *Node) (problem.Result, error) {
	s, err := kubeletSettings(n)
	if err != nil {
		return problem.Result{}, err
	}
	all := kubelet.Certificates(n.Host, s)
	if len(all) == 0 {
		return problem.Result{}, problem.NotApplicablef("kubelet has no certificate in a file")
	}
	return evaluateCertificates(all, n.Host.Clock.Wall(), p.Thresholds), nil
}

func evaluateCertificates(all []kubelet.Certificate, now time.Time, th CertificatesThresholds) problem.Result {
	var r problem.Result
	for _, c := range all {
		v := problem.Verdict{
			Kind: problem.KubeletCertificateExpiring, Subject: c.File, State: problem.Wrong,
			Touches: []problem.Ref{problem.RefNode, problem.NewRef(problem.RefProcess, "kubelet")},
		}
		name := "kubelet's serving certificate"
		switch {
		case c.Client:
			name = "kubelet's client certificate"
		case c.SelfSigned:
			name = "kubelet's self-signed serving certificate"
		}
		if c.Err != nil {
			// The one in kubelet's memory may still be good: it ends with kubelet.
			v.Severity, v.Message = problem.Warning, fmt.Sprintf("%s cannot be read: %s", name, bounded([]byte(c.Err.Error())))
			v.Evidence = []string{"openssl x509 -noout -dates -in " + c.File}
			r.Verdicts = append(r.Verdicts, v)
			continue
		}
		life, left := c.NotAfter.Sub(c.NotBefore), c.NotAfter.Sub(now)
		r.Measurements = append(r.Measurements, problem.Measurement{
			Resource: "certificate_life", Subject: c.File, Used: max(now.Sub(c.NotBefore), 0).Seconds(), Max: life.Seconds(),
			Unit: problem.Seconds, Touches: v.Touches,
		})
		const day = "2006-01-02 15:04 UTC"
		switch {
		case left <= 0:
			v.Severity, v.Refused = problem.Critical, true
			v.Message = fmt.Sprintf("%s has expired: it was good until %s", name, c.NotAfter.UTC().Format(day))
		case now.Before(c.NotBefore):
			v.Severity, v.Refused = problem.Critical, true
			v.Message = fmt.Sprintf("%s is not good before %s: is the clock right?", name, c.NotBefore.UTC().Format(day))
		case left < th.Critical.of(life):
			v.Severity = problem.Critical
		case left < th.Warning.of(life):
			v.Severity = problem.Warning
		default:
			continue
		}
		if v.Message == "" {
			v.Message = fmt.Sprintf("%s is good only until %s and has not been renewed", name, c.NotAfter.UTC().Format(day))
		}
		if c.SelfSigned {
			v.Severity, v.Refused = problem.Info, false
		}
		v.Evidence = []string{fmt.Sprintf("%s: notBefore %s, notAfter %s", c.File, c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))}
		r.Verdicts = append(r.Verdicts, v)
	}
	return r
}
