package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// archive is a cpio archive, of the format "newc" that the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	b    bytes.Buffer
	inos int
}

// add adds a file, folder or device node, as its mode says.
func (a *archive) add(name string, mode, device int, content []byte) {
	a.inos++
	fmt.Fprintf(&a.b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inos, mode, 0, 0, 1, 0, len(content), 0, 0, device>>8, device&0xff, len(name)+1, 0, name)
	a.pad()
	a.b.Write(content)
	a.pad()
}

func (a *archive) addFile(t *testing.T, name string, mode int, from string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	a.add(name, mode, 0, content)
}

func (a *archive) pad() { a.b.Write(make([]byte, -a.b.Len()&3)) }

func (a *archive) bytes() []byte {
	a.add("TRAILER!!!", 0, 0, nil)
	return a.b.Bytes()
}

// inOrder finds the files of kernel modules and of those that they need, which
// come first.
func inOrder(t *testing.T, kernel string, modules []string) (files []string) {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(filepath.Join(kernel, "lib/modules"), func(p string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(p), ".ko"); ok {
			all[strings.ReplaceAll(name, "-", "_")] = p
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var add func(name string)
	add = func(name string) {
		file := all[strings.ReplaceAll(name, "-", "_")]
		switch {
		case file == "":
			t.Fatalf("this kernel has no module %s", name)
		case slices.Contains(files, file):
			return
		}
		for _, needed := range needs(t, file) {
			add(needed)
		}
		files = append(files, file)
	}
	for _, m := range modules {
		add(m)
	}
	return files
}

// needs are the modules that a module says it depends on.
func needs(t *testing.T, file string) []string {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Section(".modinfo").Data()
	if err != nil {
		t.Fatal(err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(list, ",")
		}
	}
	return nil
}
