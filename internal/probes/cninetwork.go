package probes

// This file: can pods get a network, by what the runtime says and by the network
// configuration and the plugins that it needs.

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/cni"
	"github.com/nodevitals/nodevitals/internal/host/cri"
	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// networkGrace is how long after a boot the network may still be in the making: the
// plugin's own pod must start first, and writes the configuration then.
const networkGrace = time.Minute

// networkSight is what there is to see of the pods' network.
type networkSight struct {
	says    cri.Condition // the runtime's word, which decides
	loadErr string        // why the runtime could not load the configuration, if it says
	folders cni.Folders
	sure    bool // the folders are those that the runtime uses
	config  cni.Config
	err     error // why there is no config
	up      time.Duration
}

// seeNetwork loads the network configuration, from where the runtime has it, or had it
// when it last answered.
func (p *Runtime) seeNetwork(n *Node, s kubelet.Settings, l runtimeLook) networkSight {
	setup := l.setup
	if l.err != nil {
		setup = p.setup
	}
	sight := networkSight{says: l.status.Network, loadErr: setup.CNIError, up: n.Host.Clock.Boot()}
	sight.folders, sight.sure = cniFolders(n, s, setup)
	sight.config, sight.err = cni.Load(n.Host, sight.folders)
	return sight
}

func evaluateNetwork(s networkSight) []problem.Verdict {
	what := s.fault()
	switch {
	case s.says.Known && !s.says.True && s.up < networkGrace:
		return []problem.Verdict{{
			Kind: problem.CNINotReady, State: problem.Unknown,
			Message: "the node was started less than a minute ago, and its network is still in the making",
		}}
	case s.says.Known && !s.says.True:
		if what == "" {
			what = orElse(s.loadErr, orElse(s.says.Message, s.says.Reason))
		}
		return []problem.Verdict{s.verdict("the container runtime has no network for pods: "+what, s.runtimeSays())}
	case s.err == nil && len(s.config.Missing) > 0 && (s.sure || len(s.config.Present) > 0):
		return []problem.Verdict{s.verdict("pods can get no network: " + what)}
	case !s.says.Known && errors.Is(s.err, cni.ErrNoConfig):
		return notApplicable(problem.CNINotReady, "Docker makes the pods' network itself: %v", s.err)
	case !s.says.Known && s.err != nil:
		return []problem.Verdict{s.verdict("pods can get no network: " + what)}
	}
	return nil
}

// fault is what is wrong with the files; empty if nothing is to be seen.
func (s networkSight) fault() string {
	switch {
	case s.err != nil:
		return s.err.Error()
	case len(s.config.Missing) == 1:
		return fmt.Sprintf("the plugin %s, which %s needs, is not in %s", s.config.Missing[0], path.Base(s.config.File), strings.Join(s.folders.Bin, ", "))
	case len(s.config.Missing) > 1:
		return fmt.Sprintf("the plugins %s, which %s needs, are not in %s",
			strings.Join(s.config.Missing, ", "), path.Base(s.config.File), strings.Join(s.folders.Bin, ", "))
	}
	return ""
}

func (s networkSight) runtimeSays() string {
	return fmt.Sprintf("CRI Status: NetworkReady=false %s: %s", s.says.Reason, s.says.Message)
}

func (s networkSight) verdict(message string, evidence ...string) problem.Verdict {
	if s.loadErr != "" {
		evidence = append(evidence, "the runtime's last attempt to load it: "+s.loadErr)
	}
	if s.err == nil { // else the message says what is wrong with it
		evidence = append(evidence, fmt.Sprintf("%s: network %s", s.config.File, s.config.Network.Name))
	}
	return problem.Verdict{
		Kind: problem.CNINotReady, State: problem.Wrong, Severity: problem.Critical,
		Message: message, Evidence: evidence, Touches: []problem.Ref{problem.RefNode},
	}
}
