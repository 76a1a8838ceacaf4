package host

import (
	"os"
	"path"
	"strings"
)

// maxLinks is how many symbolic links a path may lead over, as the kernel's.
const maxLinks = 40

// Resolve follows the symbolic links on the way to the host's path p, inside the
// host's root: to the kernel an absolute link below /host leads out of it. A
// relative path starts at the root. What does not exist, or goes in circles, is
// returned as far as that: whoever opens it will see.
func (h *Host) Resolve(p string) string {
	if h.Own() {
		return path.Join("/", p) // the kernel does it
	}
	return h.RealPath(p)
}

// Locate is where we find the host's path p, with its links followed by Resolve: for
// the calls that do not go through Open, which has the kernel follow them.
func (h *Host) Locate(p string) string { return h.Path(h.Resolve(p)) }

// RealPath is Resolve also on our own root: the path without any link.
func (h *Host) RealPath(p string) string {
	p = path.Join("/", p)
	done, todo := "/", strings.TrimPrefix(p, "/")
	for links := 0; todo != ""; {
		var part string
		part, todo, _ = strings.Cut(todo, "/")
		next := path.Join(done, part) // .. at the root stays there
		target, err := os.Readlink(h.Path(next))
		switch {
		case err != nil:
			done = next // no link, or not there
		case links == maxLinks:
			return p
		default:
			links++
			if path.IsAbs(target) {
				done = "/"
			}
			todo = strings.Trim(strings.Trim(target, "/")+"/"+todo, "/")
		}
	}
	return done
}
