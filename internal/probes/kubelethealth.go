package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// KubeletHealth asks kubelet how it is, at its /healthz.
type KubeletHealth struct{ Thresholds KubeletHealthThresholds }

// KubeletHealthThresholds are the thresholds of KubeletHealth.
type KubeletHealthThresholds struct {
	// Answer is how long kubelet may take to answer.
	Answer time.Duration `yaml:"answer"`
	// Starting is how long a kubelet that was just started may refuse connections.
	Starting time.Duration `yaml:"starting"`
}

// Validate says what is wrong with the thresholds; the config calls it.
func (t KubeletHealthThresholds) Validate() error {
	if t.Answer <= 0 || t.Starting < 0 {
		return errors.New("answer must be above 0, starting not below")
	}
	return nil
}

// NewKubeletHealth is the probe with its default thresholds.
func NewKubeletHealth() *KubeletHealth {
	return &KubeletHealth{KubeletHealthThresholds{
		// It takes milliseconds, since the handler only looks at what kubelet knows. 4 s
		// leave a single report its 5.
		Answer: 4 * time.Second,
		// It listens once it has loaded its settings and found its credentials.
		Starting: time.Minute,
	}}
}

// Name implements Probe.
func (*KubeletHealth) Name() string { return "kubelet" }

// Kinds implements Probe.
func (*KubeletHealth) Kinds() []problem.Kind {
	return []problem.Kind{problem.KubeletNotAnswering, problem.PLEGUnhealthy}
}

// Run implements Probe.
func (p *KubeletHealth) Run(ctx context.Context, n *Node) (problem.Result, error) {
	s, settingsErr := kubelet.Read(n.Host)
	switch {
	case settingsErr == nil && !s.Found:
		return problem.Result{}, problem.NotApplicablef("no kubelet is set up on this node")
	case !liveProc(n.Host):
		return problem.Result{}, problem.NotApplicablef("this is a recording: there is nobody to ask")
	case settingsErr == nil && s.HealthzPort == 0:
		return problem.Result{}, problem.NotApplicablef("kubelet's settings turn its health endpoint off (healthzPort: 0)")
	}
	if why := foreignNetwork(n.Host); why != "" {
		return problem.Result{}, errors.New(why)
	}
	a := askHealthz(ctx, healthzAddress(s, settingsErr), p.Thresholds.Answer)
	if a.refused {
		// Only now the walk over all processes is worth its cost.
		found, err := kubeletProcesses(ctx, n)
		if err != nil && len(found) == 0 {
			return problem.Result{}, fmt.Errorf("kubelet's %s refuses connections, and whether it runs is not known: %w", a.url, err)
		}
		for _, k := range found {
			const ticks = time.Second / 100 // USER_HZ
			if age := n.Host.Clock.Boot() - time.Duration(k.StartTime)*ticks; a.age == 0 || age < a.age {
				a.age = age
			}
		}
		a.running = len(found) > 0
	}
	if settingsErr != nil && (a.err != nil || a.refused) {
		return problem.Result{}, fmt.Errorf("kubelet does not answer at its usual address, and whether it has another is not known: %w", settingsErr)
	}
	return evaluateHealth(a, p.Thresholds), nil
}

// healthzAddress is where kubelet serves /healthz, or where it usually does.
func healthzAddress(s kubelet.Settings, err error) string {
	if err != nil {
		return "127.0.0.1:10248"
	}
	host := s.HealthzAddress
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(s.HealthzPort))
}

// healthAnswer is what came of asking.
type healthAnswer struct {
	url string
	// refused: nobody listens there; then running says whether there is a kubelet,
	// and age since when.
	refused bool
	running bool
	age     time.Duration
	err     error // no answer, or none that is HTTP
	status  int
	failed  []string // the checks that the answer names as failed
}

// maxHealthz is the most that is read of an answer, in bytes: kubelet's has some
// lines.
const maxHealthz = 16 << 10

// askHealthz asks once, on a connection of its own, and waits for no longer than within.
func askHealthz(ctx context.Context, address string, within time.Duration) healthAnswer {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	a := healthAnswer{url: "http://" + address + "/healthz"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, nil)
	if err != nil {
		a.err = err
		return a
	}
	resp, err := healthClient().Do(req)
	if err != nil {
		a.err, a.refused = silence(ctx, err, within), errors.Is(err, unix.ECONNREFUSED)
		return a
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthz))
	a.status, a.failed = resp.StatusCode, parseHealthz(body)
	if err != nil {
		a.err = silence(ctx, err, within)
	}
	return a
}

// healthClient asks a daemon of this node how it is, on a connection of its own each
// time. Where that would send it on is nobody it wants to ask.
func healthClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxHealthz, ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// silence says that time was up, where that is what err means.
func silence(ctx context.Context, err error, within time.Duration) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer within %v", within)
	}
	return err
}

// parseHealthz finds the failed checks in an answer of the API machinery's health
// handler, a line each: "[-]NAME failed: REASON" (apiserver/pkg/server/healthz).
// Whoever may answer: they are fit for a message, and few.
func parseHealthz(body []byte) []string {
	const most = 10
	var failed []string
	for line := range bytes.Lines(body) {
		name, ok := strings.CutPrefix(string(line), "[-]")
		name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
		if ok && name != "" && len(name) <= 100 && len(failed) < most && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			failed = append(failed, name)
		}
	}
	return failed
}

// evaluateHealth judges an answer. That kubelet is not there at all is not said here
// (KubeletDown).
func evaluateHealth(a healthAnswer, th KubeletHealthThresholds) problem.Result {
	var pleg, others []string
	for _, check := range a.failed {
		if strings.Contains(strings.ToLower(check), "pleg") {
			pleg = append(pleg, check)
		} else {
			others = append(others, check)
		}
	}
	evidence := fmt.Sprintf("curl %s: status %d", a.url, a.status)
	message := ""
	switch {
	case a.refused && !a.running:
		return healthNotApplicable("kubelet does not run")
	case a.refused && a.age < th.Starting:
		return healthNotApplicable("kubelet was started just now")
	case a.refused:
		message, evidence = "kubelet runs, but nobody listens at its health endpoint", fmt.Sprintf("curl %s: connection refused", a.url)
	case a.err != nil:
		message = "kubelet's health endpoint does not answer: " + bounded([]byte(a.err.Error()))
		evidence = fmt.Sprintf("curl %s: %s", a.url, bounded([]byte(a.err.Error())))
	case a.status == http.StatusOK:
		return problem.Result{}
	case len(others) > 0:
		message = "kubelet says that it is not healthy: " + strings.Join(others, ", ") + " failed"
	case len(pleg) == 0:
		message = fmt.Sprintf("kubelet's health endpoint answers with status %d", a.status)
	}
	wrong := problem.Verdict{
		State: problem.Wrong, Severity: problem.Critical, Evidence: []string{evidence},
		Touches: []problem.Ref{problem.NewRef(problem.RefProcess, "kubelet")},
	}
	var r problem.Result
	if message != "" {
		v := wrong
		v.Kind, v.Message = problem.KubeletNotAnswering, message
		r.Verdicts = append(r.Verdicts, v)
	}
	if len(pleg) > 0 {
		wrong.Kind, wrong.Message = problem.PLEGUnhealthy, "kubelet says that its check of "+strings.Join(pleg, ", ")+" fails"
		r.Verdicts = append(r.Verdicts, wrong)
	} else {
		r.Verdicts = append(r.Verdicts, undecided(problem.Unknown, message, problem.PLEGUnhealthy)...)
	}
	return r
}

func healthNotApplicable(why string) problem.Result {
	return problem.Result{Verdicts: undecided(problem.NotApplicable, why, problem.KubeletNotAnswering, problem.PLEGUnhealthy)}
}
