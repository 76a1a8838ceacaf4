package probes

// This file: how many of the node's pod addresses are given away, and how many of
// those to pods that are gone.

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/cni"
	"github.com/nodevitals/nodevitals/internal/host/cri"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// leakAge is how old a reservation must be before its sandbox counts as gone: the
// runtime lists a sandbox only when its network is there, and gives the address
// back only after the sandbox has ended.
const leakAge = 5 * time.Minute

func (p *Runtime) podIPs(n *Node, network networkSight, l runtimeLook) problem.Result {
	unknown := func(err error) problem.Result {
		return problem.Result{Verdicts: []problem.Verdict{{Kind: problem.PodIPsNearLimit, State: problem.Unknown, Message: err.Error()}}}
	}
	switch {
	case errors.Is(network.err, cni.ErrNoConfig):
		return problem.Result{Verdicts: notApplicable(problem.PodIPsNearLimit, "%v", network.err)}
	case network.err != nil:
		return unknown(network.err)
	}
	pool, err := cni.PoolOf(n.Host, network.config.Network)
	switch {
	case errors.Is(err, cni.ErrOtherIPAM), errors.Is(err, fs.ErrNotExist):
		return problem.Result{Verdicts: notApplicable(problem.PodIPsNearLimit, "%v", err)}
	case err != nil:
		return unknown(err)
	}
	// The reservations are read after the sandboxes were listed; their age makes up for it.
	reserved, err := pool.Reservations(n.Host)
	if err != nil {
		return unknown(err)
	}
	return evaluatePodIPs(pool, reserved, l.sandboxes, n.Host.Clock.Wall(), p.Thresholds)
}

// evaluatePodIPs judges each set of ranges, of which a pod gets one address each.
// Sandboxes are nil where they are not known.
func evaluatePodIPs(pool cni.Pool, reserved []cni.Reservation, sandboxes []cri.Sandbox, now time.Time, th RuntimeThresholds) problem.Result {
	live := make(map[string]bool, len(sandboxes))
	for _, s := range sandboxes {
		live[s.ID] = true
	}
	var r problem.Result
	for _, set := range pool.Sets {
		name, size, used, leaked, example := "", 0, 0, 0, ""
		for _, rg := range set {
			if name != "" {
				name += ", "
			}
			name += rg.String()
			size += rg.Size()
			for _, a := range reserved {
				if !rg.Contains(a.Address) {
					continue
				}
				used++
				if sandboxes != nil && !live[a.Sandbox] && now.Sub(a.Since) > leakAge {
					leaked++
					example = a.Address.String()
				}
			}
		}
		m := problem.Measurement{
			Resource: "pod_ips", Subject: name, Used: float64(used), Max: float64(size), Unit: problem.Addresses,
			Touches: []problem.Ref{problem.RefNode},
		}
		r.Measurements = append(r.Measurements, m)
		v := problem.Verdict{
			Kind: problem.PodIPsNearLimit, Subject: name, State: problem.Wrong, Severity: th.PodIPs.Severity(m.Fraction()),
			Message:  fmt.Sprintf("the pod addresses of this node are at %s", problem.Share(m)),
			Evidence: []string{fmt.Sprintf("%s: %d reservations in %s", pool.Dir, used, name)},
			Touches:  []problem.Ref{problem.RefNode}, Refused: used >= size,
		}
		if leaked > th.LeakedIPs {
			words := fmt.Sprintf("%d of the %d pod addresses in use belong to pods that are gone", leaked, used)
			if v.Severity == 0 {
				v.Severity, v.Message = problem.Warning, words
			} else {
				v.Message += "; " + words
			}
			v.Evidence = append(v.Evidence, fmt.Sprintf("%s/%s names a container that the runtime does not list", pool.Dir, example))
		}
		if v.Severity != 0 {
			r.Verdicts = append(r.Verdicts, v)
		}
	}
	return r
}
