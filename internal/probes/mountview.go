package probes

// This file: the host's mounts as one run of a probe sees them, and how a mount
// is touched: never one that may hang, never one that is not what it seems.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
	"github.com/nodevitals/nodevitals/internal/host/mounts"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// usageFunc says how full a mount is; tests put their own in place of statfs.
type usageFunc func(mounts.Mount) (mounts.Usage, error)

// mountView is the mount tables of the host and of ourselves at one moment.
type mountView struct {
	host  *host.Host
	table mounts.Table
	own   mounts.Table
	hang  map[int]bool
	// partial says what of the table could not be read.
	partial string
	fake    usageFunc
}

// viewMounts reads the tables. With a fake, mounts are asked nothing, and so
// need not be visible here.
func viewMounts(h *host.Host, fake usageFunc) (*mountView, error) {
	v := &mountView{host: h, fake: fake}
	var err error
	if v.table, err = mounts.Read(h); len(v.table.Mounts) == 0 {
		return nil, err
	}
	switch {
	case err != nil:
		v.partial = err.Error()
	case v.table.Fallback && !h.Own():
		v.partial = "/proc/1/mountinfo cannot be read: mounts that only the node sees are missing"
	}
	if fake == nil {
		if v.own, err = mounts.Own(); len(v.own.Mounts) == 0 {
			return nil, err
		}
	}
	v.hang = v.table.MayHang()
	return v, nil
}

// touch is the path at which we may touch the mount, or why we may not.
func (v *mountView) touch(m mounts.Mount) (string, error) {
	switch {
	case m.MayHang():
		return "", fmt.Errorf("not looked at: %s may hang", m.FSType)
	case v.hang[m.ID]:
		return "", errors.New("not looked at: the way to it leads over a mount that may hang")
	case v.fake != nil:
		return v.host.Path(m.Point), nil
	}
	p, ok, why := v.own.Visible(v.host, m)
	if !ok {
		return "", errors.New(why)
	}
	return p, nil
}

func (v *mountView) mayTouch(m mounts.Mount) bool {
	_, err := v.touch(m)
	return err == nil
}

// usage says how full the mount is.
func (v *mountView) usage(m mounts.Mount) (mounts.Usage, error) {
	p, err := v.touch(m)
	if err != nil {
		return mounts.Usage{}, err
	}
	if v.fake != nil {
		return v.fake(m)
	}
	return mounts.Statfs(p)
}

// maxLinks is how many symbolic links a path may lead over, as the kernel's.
const maxLinks = 40

// place is the mount that holds the host's path p, with symbolic links followed
// inside the host's root. It goes step by step, so that it stops before a mount
// that may not be touched; that one is the answer then. The error is
// fs.ErrNotExist where the path does not exist.
func (v *mountView) place(p string) (mounts.Mount, error) {
	done, todo := "/", strings.Trim(p, "/")
	for links := 0; todo != ""; {
		part, rest, _ := strings.Cut(todo, "/")
		next := path.Join(done, part)
		m, ok := v.table.At(next)
		if !ok {
			return m, fmt.Errorf("%s has no mount that holds %s", v.table.From, next)
		}
		if !v.mayTouch(m) {
			return m, nil
		}
		info, err := os.Lstat(v.host.Path(next))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
			return m, &fs.PathError{Op: "lstat", Path: p, Err: fs.ErrNotExist}
		case err != nil:
			// A folder that we may not search: then the mount table alone must do.
			done, todo = path.Join(next, rest), ""
			continue
		case info.Mode()&fs.ModeSymlink == 0:
			done, todo = next, rest
			continue
		}
		target, err := os.Readlink(v.host.Path(next))
		if links++; err != nil || links > maxLinks {
			return m, fmt.Errorf("%s: the links on the way cannot be followed: %w", p, errors.Join(err, unix.ELOOP))
		}
		if path.IsAbs(target) {
			done = "/"
		}
		todo = strings.Trim(path.Join(strings.Trim(target, "/"), rest), "/")
	}
	m, ok := v.table.At(done)
	if !ok {
		return m, fmt.Errorf("%s has no mount that holds %s", v.table.From, done)
	}
	return m, nil
}

// device is the number of a file system's device, which is the same at all of
// its mount points.
type device struct{ major, minor uint32 }

func deviceOf(m mounts.Mount) device { return device{m.Major, m.Minor} }

func (d device) String() string { return fmt.Sprintf("%d:%d", d.major, d.minor) }

// deviceRefs are the block devices below a mount, by the names that kernel
// messages use: the partition, its disk, and what a mapped device lies on.
func (v *mountView) deviceRefs(m mounts.Mount) []problem.Ref {
	if !m.Block() {
		return nil
	}
	if m.Major == 0 { // btrfs: the number is no device's, but its source is one
		return []problem.Ref{problem.NewRef(problem.RefDevice, path.Base(m.Source))}
	}
	refs := numberedDevice(v.host, deviceOf(m).String())
	if len(refs) == 1 && strings.HasPrefix(m.Source, "/dev/") {
		refs = append(refs, problem.NewRef(problem.RefDevice, path.Base(m.Source)))
	}
	return refs
}

// numberedDevice are a device's number, "8:1", its name, its disk's and those that it
// lies on.
func numberedDevice(h *host.Host, number string) []problem.Ref {
	names := []string{number}
	sys := "/sys/dev/block/" + number
	if link, err := os.Readlink(h.Path(sys)); err == nil {
		// ../../devices/pci0000:00/…/block/sda/sda1
		names = append(names, path.Base(link))
		if disk := path.Base(path.Dir(link)); disk != "block" {
			names = append(names, disk)
		}
	}
	if below, err := h.ReadDirNames(sys + "/slaves"); err == nil {
		slices.Sort(below)
		names = append(names, below...)
	}
	refs := make([]problem.Ref, 0, len(names))
	for _, n := range names {
		refs = append(refs, problem.NewRef(problem.RefDevice, n))
	}
	return refs
}
