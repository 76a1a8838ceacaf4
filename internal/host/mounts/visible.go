package mounts

// This file says by which path of ours a mount of the host can be touched, if by any.

import (
	"fmt"
	"path"

	"github.com/nodevitals/nodevitals/internal/host"
)

// Visible is the path by which this process, whose own table it is, reaches the host's
// mount m, or why it cannot. Without that check a call on the path might answer for
// what lies under the mount point instead.
func (own Table) Visible(h *host.Host, m Mount) (ourPath string, ok bool, why string) {
	p := path.Join(h.Root(), m.Point)
	seen, ok := own.mountAt(p)
	switch {
	case !ok:
		return "", false, fmt.Sprintf("not visible here: our mount table has no mount at %s", p)
	case seen.Major != m.Major || seen.Minor != m.Minor || seen.Root != m.Root:
		return "", false, fmt.Sprintf("not visible here: %s is %d:%d %s for us, but %d:%d %s for the host",
			p, seen.Major, seen.Minor, seen.Root, m.Major, m.Minor, m.Root)
	}
	return p, true, ""
}
