package host

import (
	"os"
	"testing"
)

func TestInContainer(t *testing.T) {
	own, err := New("/")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	if !own.InContainer() {
		t.Error("kubelet's environment is that of a container")
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := own.InContainer(), ns != initPIDNamespace; got != want {
		t.Errorf("in the process namespace %s: %v, want %v", ns, got, want)
	}
	other := &Host{root: "/host", Clock: SystemClock{}}
	if !other.InContainer() {
		t.Error("whose host is elsewhere is in a container")
	}
}
