package probes

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/cni"
	"github.com/nodevitals/nodevitals/internal/host/cri"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/host/systemd"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Runtime asks the container runtime over its socket, as kubelet does, whether it
// answers, and takes from its answers how the pods' network is: is it set up, do
// its agent and kube-proxy run, are there addresses left. It is one probe, so that
// a runtime that is silent is waited for once.
type Runtime struct {
	Thresholds RuntimeThresholds

	socket  string // of the runtime that there was at the last look
	client  *cri.Client
	setup   cri.Setup
	setupAt time.Duration // boot time; 0: not known
	took    latencies
	starts  starts
	proxy   proxyHealth
}

// RuntimeThresholds are the thresholds of Runtime.
type RuntimeThresholds struct {
	// Answer is how long the runtime has to answer all that is asked at one look.
	Answer time.Duration `yaml:"answer"`
	// Restarts of the network's agent or of kube-proxy within RestartsWithin count
	// as not running.
	Restarts       int           `yaml:"restarts"`
	RestartsWithin time.Duration `yaml:"restartsWithin"`
	// PodIPs is the share of the node's range of pod addresses that is given away.
	PodIPs Levels `yaml:"podIPs"`
	// LeakedIPs is how many addresses may belong to pods that are gone.
	LeakedIPs int `yaml:"leakedIPs"`
}

// NewRuntime is the probe with its default thresholds.
func NewRuntime() *Runtime {
	return &Runtime{Thresholds: RuntimeThresholds{
		// kubelet gives its list calls two minutes, but a runtime that needs more
		// than some seconds for them has been in trouble for long; healthy ones need
		// milliseconds.
		Answer: 10 * time.Second,
		// kubelet starts a container that fails anew after 0, 10, 20, 40, 80 s …: three
		// within ten minutes is one that does not stay, and not one that was updated.
		Restarts: 3, RestartsWithin: 10 * time.Minute,
		// Of a /24, the usual size, 80 % leaves 50 addresses, 95 % leaves 12.
		PodIPs: Levels{Warning: 80, Critical: 95},
		// A few are left behind by every crash of the runtime.
		LeakedIPs: 10,
	}}
}

const (
	// setupEvery is how often the runtime is asked how it is set up, which it tells
	// in some 10 KiB.
	setupEvery = 5 * time.Minute
	// answerMargin is how much sooner than the run the wait for the runtime ends,
	// so that there is time left to say so.
	answerMargin = 500 * time.Millisecond
)

// Name implements Probe.
func (*Runtime) Name() string { return "runtime" }

// Kinds implements Probe.
func (*Runtime) Kinds() []problem.Kind {
	return []problem.Kind{
		problem.RuntimeDown, problem.RuntimeNotAnswering, problem.CgroupDriverMismatch,
		problem.CNINotReady, problem.CNIAgentDown, problem.KubeProxyDown, problem.PodIPsNearLimit,
	}
}

// Run implements Probe.
func (p *Runtime) Run(ctx context.Context, n *Node) (problem.Result, error) {
	settings, settingsErr := kubelet.Read(n.Host)
	if settingsErr != nil {
		settings = kubelet.Settings{}
	}
	e := p.endpoint(ctx, n, settings)
	if e.Socket == "" || !e.Configured && onDemand(ctx, n, e.Socket) {
		return problem.Result{}, problem.NotApplicablef("no kubelet is set up here, and no container runtime has its socket where one usually is")
	}
	look := p.look(ctx, n, e)
	switch cri.FailureOf(look.err) {
	case cri.Denied:
		return problem.Result{}, fmt.Errorf("%s: %w", e.Socket, look.err)
	case cri.Unsupported:
		if !e.Configured {
			return problem.Result{}, problem.NotApplicablef("%s does not serve Kubernetes (CRI), and no kubelet is set up here", e.Socket)
		}
	}
	p.socket = e.Socket
	r := evaluateAnswer(look, p.Thresholds, func() runtimeFacts { return gatherRuntimeFacts(ctx, n, look) })
	r.Latencies = p.took.all()
	network := p.seeNetwork(n, settings, look)
	if look.err != nil {
		r.Verdicts = append(r.Verdicts, unanswered(look, problem.CNINotReady)...)
	} else {
		r.Verdicts = append(r.Verdicts, evaluateNetwork(network)...)
	}
	r.Verdicts = append(r.Verdicts, p.agents(ctx, n, settings, look)...)
	r.Verdicts = append(r.Verdicts, cgroupDrivers(ctx, n, settings, look)...)
	ips := p.podIPs(n, network, look)
	r.Measurements = append(r.Measurements, ips.Measurements...)
	r.Verdicts = append(r.Verdicts, ips.Verdicts...)
	if settingsErr != nil {
		r.Partial = fmt.Sprintf("kubelet's settings are not known, and so its runtime's socket may be another: %v", settingsErr)
	}
	return r, nil
}

// endpoint is the socket to ask. Without a kubelet that says which, a runtime that
// was there is still looked for where it was, and one that systemd should run where
// it should be.
func (p *Runtime) endpoint(ctx context.Context, n *Node, s kubelet.Settings) cri.Endpoint {
	e := cri.Find(n.Host, s)
	switch {
	case e.Configured:
	case p.socket != "" && p.socket != e.Socket:
		e = cri.Endpoint{Socket: p.socket, Docker: p.socket == cri.DockerSocket}
	case e.Socket == "":
		units, _ := systemd.Look(ctx, n.Host, "containerd.service", "crio.service") // without systemd, none is expected
		for _, u := range units {
			if u.Enabled() && !u.Running() {
				name := strings.TrimSuffix(u.Name, ".service")
				e.Socket = "/run/" + name + "/" + name + ".sock"
			}
		}
	}
	return e
}

// onDemand tells whether a socket is systemd's, which starts Docker when somebody
// connects: we shall not be the one. Where kubelet uses it, it runs anyhow.
func onDemand(ctx context.Context, n *Node, socket string) bool {
	if !strings.Contains(socket, "docker") {
		return false
	}
	daemons, err := process.Find(ctx, n.Host, runtimeNames(socket)...)
	return err == nil && len(daemons) == 0
}

// runtimeLook is what the runtime said at one look, as far as it said anything.
type runtimeLook struct {
	endpoint cri.Endpoint
	version  cri.Version
	status   cri.Status
	setup    cri.Setup
	// Lists are nil where the runtime did not tell.
	sandboxes  []cri.Sandbox
	containers []cri.Container
	took       time.Duration // all calls together
	waited     time.Duration // how long it had to answer
	err        error         // of the first call that failed; the ones after it were not made
}

// look asks all that is to be asked, within one deadline.
func (p *Runtime) look(ctx context.Context, n *Node, e cri.Endpoint) runtimeLook {
	l := runtimeLook{endpoint: e, waited: p.Thresholds.Answer}
	if until, ok := ctx.Deadline(); ok {
		l.waited = max(min(l.waited, time.Until(until)-answerMargin), 0)
	}
	ctx, cancel := context.WithTimeout(ctx, l.waited)
	defer cancel()
	began := time.Now()
	if e.Docker {
		l.err = p.askDocker(ctx, n, &l)
	} else {
		l.err = p.askCRI(ctx, n, &l)
	}
	l.took = time.Since(began)
	return l
}

func (p *Runtime) askCRI(ctx context.Context, n *Node, l *runtimeLook) error {
	if p.client == nil || p.socket != l.endpoint.Socket {
		if p.client != nil {
			p.client.Close()
		}
		p.client = cri.NewClient(l.endpoint.Path(n.Host))
	}
	c := p.client
	defer c.Release()
	now := n.Host.Clock.Boot()
	return inTurn(
		p.timed("Version", func() (err error) { l.version, err = c.Version(ctx); return err }),
		p.timed("Status", func() (err error) { l.status, err = c.Status(ctx); return err }),
		p.timed("ListPodSandbox", func() (err error) { l.sandboxes, err = c.Sandboxes(ctx); return err }),
		p.timed("ListContainers", func() (err error) { l.containers, err = c.Containers(ctx); return err }),
		func() (err error) {
			if p.setupAt == 0 || now-p.setupAt >= setupEvery || !l.status.Network.True {
				if p.setup, err = c.Setup(ctx); err == nil {
					p.setupAt = now
				}
			}
			l.setup = p.setup
			return err
		},
	)
}

func (p *Runtime) askDocker(ctx context.Context, n *Node, l *runtimeLook) error {
	d := cri.NewDocker(l.endpoint.Path(n.Host))
	return inTurn(
		p.timed("_ping", func() error { return d.Ping(ctx) }),
		p.timed("info", func() (err error) { l.version, l.setup, err = d.Info(ctx); return err }),
	)
}

// timed counts how long a call takes.
func (p *Runtime) timed(name string, call func() error) func() error {
	return func() error {
		defer p.took.since(time.Now(), name)
		return call()
	}
}

// inTurn makes calls until one fails.
func inTurn(calls ...func() error) error {
	for _, call := range calls {
		if err := call(); err != nil {
			return err
		}
	}
	return nil
}

// unanswered is the verdict on kinds that only the runtime can tell, while it does not.
func unanswered(l runtimeLook, kinds ...problem.Kind) []problem.Verdict {
	var vs []problem.Verdict
	for _, k := range kinds {
		vs = append(vs, problem.Verdict{Kind: k, State: problem.Unknown, Message: fmt.Sprintf("the container runtime has not told: %v", l.err)})
	}
	return vs
}

// notApplicable is the verdict on a kind that cannot occur here.
func notApplicable(k problem.Kind, format string, args ...any) []problem.Verdict {
	return []problem.Verdict{{Kind: k, State: problem.NotApplicable, Message: fmt.Sprintf(format, args...)}}
}

// cniFolders are where the runtime has its network configuration: as it says, else
// as usual. sure: it says.
func cniFolders(n *Node, s kubelet.Settings, setup cri.Setup) (f cni.Folders, sure bool) {
	f = cni.Usual(n.Host, s.Distribution, s.DataDir)
	if setup.CNIConfDir == "" || len(setup.CNIBinDirs) == 0 {
		return f, false
	}
	return cni.Folders{Conf: setup.CNIConfDir, Bin: setup.CNIBinDirs}, true
}
