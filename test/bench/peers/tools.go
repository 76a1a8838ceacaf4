//go:build tools

// Package peers pins the programs that the bench measures beside the agent.
package peers

import _ "github.com/prometheus/node_exporter"
