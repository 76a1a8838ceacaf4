package agent

import (
	"net"
	"net/http"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// maxConnections bounds the open connections: each takes a descriptor and some
// memory. A Prometheus server keeps one, kubelet opens one a look.
const maxConnections = 32

// connections closes the oldest connection for each that is opened beyond the
// most: a client that opens many and does not use them shuts nobody out.
type connections struct {
	most int
	mu   sync.Mutex
	open []net.Conn // the oldest first
}

// newConnections allows as many as leave most of our descriptors to the probes.
func newConnections() *connections {
	c := &connections{most: maxConnections}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil && files.Cur < 4*maxConnections {
		c.most = max(2, int(files.Cur/4))
	}
	return c
}

// track is http.Server's ConnState.
func (c *connections) track(conn net.Conn, to http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch to {
	case http.StateNew:
		c.open = append(c.open, conn)
		if len(c.open) > c.most {
			_ = c.open[0].Close()
			c.open = slices.Delete(c.open, 0, 1)
		}
	case http.StateClosed, http.StateHijacked:
		c.open = slices.DeleteFunc(c.open, func(o net.Conn) bool { return o == conn })
	}
}
