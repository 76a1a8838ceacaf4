package main

// This file measures what the agent as a daemon is compared with: node_exporter,
// with the collectors that look at what the agent looks at.

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/nodevitals/nodevitals/internal/host"
)

const peerName = "node_exporter"

// peerArgs start node_exporter. It collects only when it is scraped, and judges
// nothing; it has no hung mounts, logs, units' restarts or runtimes to look at.
func peerArgs(address string) []string {
	args := []string{"--web.listen-address", address, "--collector.disable-defaults", "--log.level", "error"}
	for _, c := range []string{
		"arp", "bonding", "buddyinfo", "cgroups", "conntrack", "cpu", "diskstats", "filefd", "filesystem", "loadavg", "meminfo", "mountstats", "netclass",
		"netdev", "netstat", "network_route", "pressure", "processes", "slabinfo", "sockstat", "stat", "timex", "vmstat", "zoneinfo",
	} {
		args = append(args, "--collector."+c)
	}
	return args
}

// benchPeer watches node_exporter as the agent is watched. Its figures are in the
// same order.
func benchPeer(ctx context.Context, w io.Writer, h *host.Host, path, node string, long time.Duration) ([]figure, error) {
	d, err := start(h, "/metrics", func(address string) *exec.Cmd { return exec.CommandContext(ctx, path, peerArgs(address)...) })
	if err != nil {
		return nil, err
	}
	if err := d.live(ctx, long); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d.figures(node), d.print(w, peerName)
}
