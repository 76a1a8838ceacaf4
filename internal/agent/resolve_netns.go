package agent

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/host/owner"
	"github.com/nodevitals/nodevitals/internal/host/process"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: whose a network namespace is, as the kernel's lines number it.

const (
	// namespaceFor is how long the owner of a namespace is believed: the kernel may
	// write ten lines of one in a few seconds, and each look is a walk over all
	// processes.
	namespaceFor = time.Minute
	// namespaceWithin bounds such a walk.
	namespaceWithin = time.Second
)

// namespace is what was found out about a network namespace.
type namespace struct {
	owner owner.Owner // the zero value: no process in it could be seen
	node  bool        // it is the node's own
	at    time.Duration
}

// ofNetns gives a claim about another network namespace than the node's to the
// pod that lives there. Probes look at the node's only, so that their "fine" says
// nothing about it.
func (r *resolver) ofNetns(c problem.Claim, inode string) problem.Claim {
	n := r.namespace(inode)
	if n.node {
		return c
	}
	c.Subject, c.Scope, c.LogOnly = "network namespace "+inode, problem.PodScope, true
	if n.owner.PodUID != "" {
		n.owner.Container, n.owner.ContainerID = "", "" // all containers of a pod share it
		c.Subject = n.owner.String()
		return touch(c, n.owner.Refs()...)
	}
	return c
}

func (r *resolver) namespace(inode string) namespace {
	now := r.node.Host.Clock.Boot()
	if n, ok := r.netns[inode]; ok && now-n.at < namespaceFor {
		return n
	}
	n := namespace{at: now}
	// Probes look at the namespace that we are in; on a node with hostNetwork, and
	// without a container, that is PID 1's.
	if inode == r.netnsOf("1") || inode == r.netnsOf("self") {
		n.node = true
	} else {
		n.owner = r.ownerOfNetns(inode)
	}
	if r.netns == nil || len(r.netns) > 1000 { // pods come and go
		r.netns = map[string]namespace{}
	}
	r.netns[inode] = n
	return n
}

// ownerOfNetns looks for a pod's process in the namespace.
func (r *resolver) ownerOfNetns(inode string) owner.Owner {
	ctx, cancel := context.WithTimeout(context.Background(), namespaceWithin)
	defer cancel()
	var found owner.Owner
	enough := errors.New("found")
	// A walk that fails has not found it.
	_ = process.Walk(ctx, r.node.Host, func(p process.Process) error {
		if r.netnsOf(strconv.Itoa(p.PID)) != inode {
			return nil
		}
		if o := r.node.Owners.OfPID(p.PID); o.PodUID != "" {
			found = o
			return enough
		}
		return nil
	})
	return found
}

// netnsOf is the inode of a process' network namespace; empty if we may not know.
func (r *resolver) netnsOf(pid string) string {
	link, err := os.Readlink(r.node.Host.Path("/proc/" + pid + "/ns/net"))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(link, "net:["), "]")
}
