package probes

import (
	"path"
	"slices"

	"github.com/nodevitals/nodevitals/internal/host/kubelet"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// This file: from a device to what is mounted from it, and whose that is.

// tellPlaces ties verdicts about devices, by whose names they are called, to what
// is mounted from these. What only pods have as volumes is those pods' matter, all
// else the node's. Where the mounts cannot be read, the devices still stand.
func tellPlaces(n *Node, verdicts []problem.Verdict) {
	if len(verdicts) == 0 {
		return
	}
	table, _ := mounts.Read(n.Host)
	settings, err := kubelet.Read(n.Host)
	root, view := kubeletRoot(settings, err), &mountView{host: n.Host, table: table}
	for _, m := range table.Mounts {
		if !m.Block() || m.FUSE() {
			continue
		}
		devices := view.deviceRefs(m)
		for i := range verdicts {
			if v := &verdicts[i]; slices.Contains(devices, problem.NewRef(problem.RefDevice, v.Subject)) {
				touchMount(n, root, v, m, devices)
			}
		}
	}
	for i := range verdicts {
		v := &verdicts[i]
		isMounted := slices.ContainsFunc(v.Touches, func(r problem.Ref) bool { return r.Type() == problem.RefMount })
		if isMounted && !slices.Contains(v.Touches, problem.RefNode) {
			v.Scope = problem.PodScope
		}
	}
}

// touchMount adds what one mount of the verdict's device is and to whom it matters.
func touchMount(n *Node, root string, v *problem.Verdict, m mounts.Mount, devices []problem.Ref) {
	refs := append([]problem.Ref{problem.NewRef(problem.RefMount, m.Point)}, devices...)
	if vm, ok := parseVolumePath(root, m.Point); ok && vm.pod != "" {
		refs = append(refs, n.Owners.OfPod(vm.pod).Refs()...)
	}
	if !within(m.Point, path.Join(root, "pods")) && !within(m.Point, path.Join(root, "plugins")) {
		refs = append(refs, problem.RefNode)
	}
	for _, r := range refs {
		if !slices.Contains(v.Touches, r) {
			v.Touches = append(v.Touches, r)
		}
	}
}
