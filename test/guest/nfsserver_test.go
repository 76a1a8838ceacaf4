package guest

// This file is an NFS server: the kernel's, in a network namespace of its own, so
// that it can be reached over a link only, which may go down.

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	serverAddress = "10.9.0.1"
	clientAddress = "10.9.0.2"
	export        = serverAddress + ":/"
)

// nfsServer is a server that exports /srv to everybody, as the root of NFSv4.
type nfsServer struct {
	t    *testing.T
	link netlink.Link // the node's end
	todo chan func() error
	done chan error
}

// startNFS starts a server.
func startNFS(t *testing.T) *nfsServer {
	t.Helper()
	s := &nfsServer{t: t, todo: make(chan func() error), done: make(chan error)}
	namespace := 0
	go func() {
		runtime.LockOSThread() // and never unlocks it: the namespace is this thread's
		for f := range s.todo {
			s.done <- f()
		}
	}()
	s.there("make a network namespace", func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		namespace = unix.Gettid()
		return nil
	})
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "nfs0"}, PeerName: "nfs1", PeerNamespace: netlink.NsPid(namespace)}
	err := netlink.LinkAdd(veth)
	if err == nil {
		s.link, err = setUp("nfs0", clientAddress)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.there("address", func() error { _, err := setUp("nfs1", serverAddress); return err })
	s.there("export", serve)
	return s
}

// there does something in the server's namespace.
func (s *nfsServer) there(what string, f func() error) {
	s.t.Helper()
	s.todo <- f
	if err := <-s.done; err != nil {
		s.t.Fatalf("NFS server: %s: %v", what, err)
	}
}

func setUp(name, address string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	ip := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(address), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(link, ip); err != nil {
		return nil, err
	}
	return link, netlink.LinkSetUp(link)
}

// cut takes the server away without a word, as a dead machine or a broken network
// does; mend brings it back.
func (s *nfsServer) cut() { s.set(netlink.LinkSetDown) }

func (s *nfsServer) mend() { s.set(netlink.LinkSetUp) }

func (s *nfsServer) set(to func(netlink.Link) error) {
	s.t.Helper()
	if err := to(s.link); err != nil {
		s.t.Fatal(err)
	}
}

// serve does what rpc.nfsd and rpc.mountd do: it answers the kernel's questions
// of who may have what beforehand (nfsd(7) and fs/nfsd/export.c).
func serve() error {
	const (
		forever = "2147483647"
		rpc     = "/proc/thread-self/net/rpc/"
		nfsd    = "/proc/fs/nfsd/"
		// insecure ports, asynchronous, no subtree check, with an fsid (uapi/linux/nfsd/export.h)
		flags = 0x2 | 0x10 | 0x400 | 0x2000
	)
	if err := unix.Mount("nfsd", nfsd, "nfsd", 0, ""); err != nil {
		return fmt.Errorf("mount nfsd: %w", err)
	}
	for _, order := range []struct{ file, text string }{
		{rpc + "auth.unix.ip/channel", "nfsd " + clientAddress + " " + forever + " all\n"},
		{rpc + "nfsd.export/channel", fmt.Sprintf("all /srv %s %d 65534 65534 0\n", forever, flags)},
		{rpc + "nfsd.fh/channel", `all 1 \x00000000 ` + forever + " /srv\n"},
		{nfsd + "versions", "-2 -3 +4 +4.1 +4.2\n"},
		// Files can be opened when the time is over in which clients of before may come back.
		{nfsd + "nfsv4leasetime", "10\n"},
		{nfsd + "nfsv4gracetime", "10\n"},
		{nfsd + "portlist", "tcp 2049\n"},
		{nfsd + "threads", "4\n"},
	} {
		if err := os.WriteFile(order.file, []byte(order.text), 0); err != nil {
			return fmt.Errorf("%q: %w", order.text, err)
		}
	}
	return nil
}

// mountNFS mounts the export. The client sends a request again after 5 s, and not
// after 60 s as by default.
func mountNFS(t *testing.T, dir string) {
	t.Helper()
	err := unix.Mount(export, dir, "nfs4", 0, "vers=4.2,hard,timeo=50,retrans=2,sec=sys,addr="+serverAddress+",clientaddr="+clientAddress)
	if err != nil {
		t.Fatalf("mount %s: %v", export, err)
	}
}
