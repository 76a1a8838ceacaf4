package agent

import (
	"net"
	"net/http"
	"testing"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestIdleConnectionsShutNobodyOut: a client that opens connections and says
// nothing costs a bounded number of descriptors, and others are answered.
func TestIdleConnectionsShutNobodyOut(t *testing.T) {
	d := startDaemon(t, newAgent(t, nil, spec("good", problem.ClockJumped, fine)))
	d.await("/readyz", func(code int, _ string) bool { return code == http.StatusOK })
	address := d.url[len("http://"):]
	var idle []net.Conn
	for range 4 * maxConnections {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		idle = append(idle, c)
	}
	http.DefaultClient.CloseIdleConnections()
	if code, _ := d.get("/metrics"); code != http.StatusOK {
		t.Errorf("/metrics: %d", code)
	}
	// The oldest are closed from the other end.
	if n, err := idle[0].Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the oldest connection is still open: %d %v", n, err)
	}
	d.stop()
}
