package netfilter

// This file: whether a module of the kernel is there to be asked. To ask one that
// is not makes the kernel load it, and the agent only reads.

import (
	"bytes"
	"errors"
	"io/fs"

	"github.com/nodevitals/nodevitals/internal/host"
)

// loaded reports whether the kernel has the module loaded or built in.
func loaded(h *host.Host, module string) (bool, error) {
	modules, err := h.ReadFile("/proc/modules")
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // a kernel that cannot load any
	} else if err != nil {
		return false, err
	}
	if bytes.Contains(append([]byte("\n"), modules...), []byte("\n"+module+" ")) {
		return true, nil
	}
	release, err := h.ReadString("/proc/sys/kernel/osrelease")
	if err != nil {
		return false, err
	}
	// A list that is not there cannot tell; kernels with it built in are rare, but
	// to be silent about them would be wrong.
	builtin, err := h.ReadFile("/lib/modules/" + release + "/modules.builtin")
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return bytes.Contains(builtin, []byte("/"+module+".ko\n")), err
}
