package probes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Inotify watches the limits on inotify (inotify(7)), which the kernel keeps by
// user: at each run it tries to make an instance and a watch itself (the
// canary), and at times it counts everybody's. inotifycount.go counts.
type Inotify struct {
	Thresholds InotifyThresholds
	// canary tries inotify out on a folder.
	canary func(folder string) inotifyCanary

	last        *inotifyCount // nil until the first count
	lastAt      time.Duration // boot time of the last count
	lastRefused bool          // the canary's last answer
}

// InotifyThresholds are the thresholds of Inotify.
type InotifyThresholds struct {
	// Instances is the share of a user's limit on instances in use.
	Instances Levels `yaml:"instances"`
	// Watches is the share of a user's limit on watches in use.
	Watches Levels `yaml:"watches"`
	// CountEvery is the time between two full counts.
	CountEvery time.Duration `yaml:"countEvery"`
}

// NewInotify is the probe with its default thresholds.
func NewInotify() *Inotify {
	return &Inotify{
		Thresholds: InotifyThresholds{
			// Of the default of 128 instances a pod takes two or three: 80 % leaves
			// room for some ten pods, 95 % for two.
			Instances: Levels{Warning: 80, Critical: 95},
			// Watches come by whole trees, thousands at once.
			Watches: Levels{Warning: 80, Critical: 95},
			// A count costs some 10 µs for each descriptor on the node, 0.1 s of CPU
			// on a busy one. The canary tells of the limit meanwhile.
			CountEvery: 5 * time.Minute,
		},
		canary: tryInotify,
	}
}

// recountNear is the time between two counts while a limit is near or reached,
// so that what was mended does not look broken for long.
const recountNear = time.Minute

// Name implements Probe.
func (*Inotify) Name() string { return "inotify" }

// Kinds implements Probe.
func (*Inotify) Kinds() []problem.Kind {
	return []problem.Kind{
		problem.InotifyRefused, problem.InotifyInstancesNearLimit, problem.InotifyWatchesNearLimit,
	}
}

// Run implements Probe.
func (p *Inotify) Run(ctx context.Context, n *Node) (problem.Result, error) {
	limits, err := readInotifyLimits(n.Host)
	if err != nil {
		return problem.Result{}, err
	}
	canary := p.canary(n.Host.Path("/proc"))
	if p.due(n.Host.Clock.Boot(), canary.refused()) {
		count, err := countInotify(ctx, n)
		if err != nil {
			return problem.Result{}, err
		}
		for uid, use := range count.users {
			near := limits.near(use, p.Thresholds)
			count.near = count.near || near
			if near || canary.refused() && uid == canary.uid {
				use.findHolders(n)
			}
		}
		p.last, p.lastAt = &count, n.Host.Clock.Boot()
	}
	p.lastRefused = canary.refused()
	return evaluateInotify(*p.last, canary, limits, p.Thresholds), nil
}

// due reports whether it is time for a full count.
func (p *Inotify) due(now time.Duration, refused bool) bool {
	switch {
	case p.last == nil:
		return true
	case p.last.stopped:
		return false // each refused read may leave a line in the kernel's log
	case refused && !p.lastRefused:
		return true
	case refused || p.last.near:
		return now-p.lastAt >= min(recountNear, p.Thresholds.CountEvery)
	}
	return now-p.lastAt >= p.Thresholds.CountEvery
}

// inotifyLimits are what one user may have.
type inotifyLimits struct{ instances, watches uint64 }

func (l inotifyLimits) near(use *inotifyUse, th InotifyThresholds) bool {
	return th.Instances.Severity(share(use.instances, l.instances)) != 0 ||
		th.Watches.Severity(share(use.watches, l.watches)) != 0
}

func share(used, limit uint64) float64 {
	return problem.Measurement{Used: float64(used), Max: float64(limit)}.Fraction()
}

// readInotifyLimits reads the lower of the initial user namespace's limits and,
// since Linux 4.10, of our own's: use is charged to each namespace up the line
// (kernel/ucount.c). In the initial one both are the same number.
func readInotifyLimits(h *host.Host) (inotifyLimits, error) {
	var l inotifyLimits
	for _, f := range []struct {
		name string
		into *uint64
	}{{"instances", &l.instances}, {"watches", &l.watches}} {
		var err error
		if *f.into, err = readUint(h, "/proc/sys/fs/inotify/max_user_"+f.name); err != nil {
			return l, err
		}
		if own, err := readUint(h, "/proc/sys/user/max_inotify_"+f.name); err == nil {
			*f.into = min(*f.into, own)
		}
	}
	return l, nil
}

// inotifyCanary is how an attempt to use inotify went.
type inotifyCanary struct {
	uid uint32 // as whom
	// noInstance, noWatch: refused for the user's limit.
	noInstance, noWatch bool
	// err says why it could not be told.
	err error
}

func (c inotifyCanary) refused() bool { return c.noInstance || c.noWatch }

// tryInotify makes an instance and a watch on folder, and closes both. It costs
// some microseconds, and is exact for our own user: the kernel exports no number.
func tryInotify(folder string) inotifyCanary {
	c := inotifyCanary{uid: uint32(os.Geteuid())}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if errors.Is(err, unix.EMFILE) {
		// RLIMIT_NOFILE gives the same error: then no other descriptor is to be had either.
		other, otherErr := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if otherErr != nil {
			c.err = fmt.Errorf("this process has no descriptor left (RLIMIT_NOFILE): %w", otherErr)
			return c
		}
		_ = unix.Close(other)
		c.noInstance = true
		return c
	}
	if err != nil {
		c.err = fmt.Errorf("inotify_init1: %w", err)
		return c
	}
	defer func() { _ = unix.Close(fd) }()
	switch _, err := unix.InotifyAddWatch(fd, folder, unix.IN_DELETE_SELF); {
	case errors.Is(err, unix.ENOSPC):
		c.noWatch = true
	case err != nil:
		c.err = fmt.Errorf("inotify_add_watch %s: %w", folder, err)
	}
	return c
}

// evaluateInotify judges the last count and this run's canary.
func evaluateInotify(count inotifyCount, canary inotifyCanary, limits inotifyLimits, th InotifyThresholds) problem.Result {
	var r problem.Result
	r.Verdicts = judgeCanary(canary, limits)
	users := map[uint32]*inotifyUse{canary.uid: {}} // which may have reached its limit with what cannot be seen
	maps.Copy(users, count.users)
	for _, uid := range slices.Sorted(maps.Keys(users)) {
		use, own := users[uid], uid == canary.uid
		for _, c := range []inotifyResource{
			{
				problem.InotifyInstancesNearLimit, "inotify_instances", "max_user_instances", problem.Instances,
				use.instances, limits.instances, th.Instances, own && canary.noInstance, use.instanceHolders,
			},
			{
				problem.InotifyWatchesNearLimit, "inotify_watches", "max_user_watches", problem.Watches,
				use.watches, limits.watches, th.Watches, own && canary.noWatch, use.watchHolders,
			},
		} {
			m, v := c.judge(uid, count)
			if !count.stopped {
				r.Measurements = append(r.Measurements, m)
			}
			if v.Severity != 0 {
				r.Verdicts = append(r.Verdicts, v)
			}
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(count.guarded)) {
		if uid == canary.uid {
			continue // the canary is charged to the same account
		}
		for _, kind := range []problem.Kind{problem.InotifyInstancesNearLimit, problem.InotifyWatchesNearLimit} {
			subject := fmt.Sprintf("uid %d", uid)
			if !slices.ContainsFunc(r.Verdicts, func(v problem.Verdict) bool { return v.Kind == kind && v.Subject == subject }) {
				r.Verdicts = append(r.Verdicts, problem.Verdict{Kind: kind, Subject: subject, State: problem.Unknown, Message: count.guarded[uid]})
			}
		}
	}
	if count.stopped {
		for _, kind := range []problem.Kind{problem.InotifyInstancesNearLimit, problem.InotifyWatchesNearLimit} {
			r.Verdicts = append(r.Verdicts, problem.Verdict{Kind: kind, State: problem.Unknown, Message: count.why})
		}
	}
	return r
}

// judgeCanary tells of inotify calls that are refused now.
func judgeCanary(c inotifyCanary, limits inotifyLimits) []problem.Verdict {
	v := problem.Verdict{Kind: problem.InotifyRefused}
	uid := strconv.FormatUint(uint64(c.uid), 10)
	switch {
	case c.noInstance:
		v.Message = fmt.Sprintf("uid %s can open no inotify instance: it has reached its limit of %d", uid, limits.instances)
		v.Evidence = []string{"inotify_init1 as uid " + uid + ": EMFILE, while other descriptors can be opened"}
	case c.noWatch:
		v.Message = fmt.Sprintf("uid %s can add no inotify watch: it has reached its limit of %d", uid, limits.watches)
		v.Evidence = []string{"inotify_add_watch as uid " + uid + ": ENOSPC"}
	case c.err != nil:
		v.State, v.Message = problem.Unknown, c.err.Error()
		return []problem.Verdict{v}
	case c.uid != 0:
		v.State = problem.Unknown
		v.Message = "the limit is kept by user: as uid " + uid + " it cannot be tried out for root, as whom kubelet runs"
		return []problem.Verdict{v}
	default:
		return nil
	}
	v.State, v.Severity, v.Refused = problem.Wrong, problem.Critical, true
	v.Touches = inotifyTouches(c.uid)
	return []problem.Verdict{v}
}

// inotifyTouches are what a user's limit touches. Root's is the whole node's:
// kubelet, the runtime and most containers share it.
func inotifyTouches(uid uint32) []problem.Ref {
	refs := []problem.Ref{problem.NewRef(problem.RefUID, strconv.FormatUint(uint64(uid), 10))}
	if uid == 0 {
		refs = append(refs, problem.RefNode)
	}
	return refs
}

// inotifyResource is one limit of one user.
type inotifyResource struct {
	kind           problem.Kind
	resource, knob string
	unit           problem.Unit
	used, limit    uint64
	levels         Levels
	refused        bool
	holders        []problem.Holder
}

// judge measures and judges; a verdict without severity says nothing.
func (c inotifyResource) judge(uid uint32, count inotifyCount) (problem.Measurement, problem.Verdict) {
	m := problem.Measurement{
		Resource: c.resource, Subject: fmt.Sprintf("uid %d", uid), Unit: c.unit,
		Used: float64(c.used), Max: float64(c.limit), Touches: inotifyTouches(uid),
	}
	v := problem.Verdict{
		Kind: c.kind, Subject: m.Subject, State: problem.Wrong, Severity: c.levels.Severity(m.Fraction()),
		Message: fmt.Sprintf("inotify %s of uid %d are at %s", c.unit, uid, problem.Share(m)),
		Evidence: []string{
			fmt.Sprintf("/proc/*/fd, /proc/*/fdinfo: %d inotify %s of uid %d; %s", c.used, c.unit, uid, count.precision),
			fmt.Sprintf("/proc/sys/fs/inotify/%s: %d", c.knob, c.limit),
		},
		Holders: c.holders, Touches: m.Touches, Refused: c.refused,
	}
	if c.refused {
		// The kernel knows better than the count: some may be out of our sight.
		v.Severity = problem.Critical
		v.Message = fmt.Sprintf("uid %d has used up its inotify %s: the limit is %d", uid, c.unit, c.limit)
	}
	return m, v
}
