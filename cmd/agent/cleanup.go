package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodevitals/nodevitals/internal/agent"
	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/host"
)

// cleanupWithin bounds what `agent cleanup` takes for one Node.
const cleanupWithin = 30 * time.Second

func newCleanup(o *options) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use: "cleanup [NODE... | --all]", Short: "Remove our conditions from this Node, those named, or all, for good",
		Long: `Conditions stay on a Node when the agent goes: that it restarts is no news of the
node. Run this after the agent was uninstalled. It removes only what nodevitals
has written, and reaches the API server as the agent does.`,
		Example: "  agent cleanup --kubeconfig admin.conf worker-1 worker-2",
		RunE: func(cmd *cobra.Command, nodes []string) error {
			c, err := o.load()
			switch {
			case err != nil && !all:
				return err
			case err != nil:
				// No agent has run with that; what one has written before is removed all the same.
				cmd.PrintErrln("conditions of its own rules are left:", err)
				c = o.over(config.Default())
			}
			h, err := host.New(o.root)
			if err != nil {
				return err
			}
			if all {
				c.Kube.ImpersonateNode = false // who may list all Nodes comes as itself
			}
			a := agent.New(h, c, version)
			switch {
			case all && len(nodes) > 0:
				return errors.New("cleanup: either names of Nodes or --all")
			case all:
				if nodes, err = a.Nodes(cmd.Context()); err != nil {
					return err
				}
			case len(nodes) == 0:
				nodes = []string{a.NodeName()}
			}
			var failed error
			for _, n := range nodes {
				ctx, cancel := context.WithTimeout(cmd.Context(), cleanupWithin)
				removed, err := a.Cleanup(ctx, n)
				cancel()
				if err != nil { // the others are cleaned all the same
					failed = errors.Join(failed, fmt.Errorf("%s: %w", n, err))
					continue
				}
				if len(removed) == 0 {
					removed = []string{"nothing of ours was there"}
				}
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), n, "removed:", strings.Join(removed, ", ")); err != nil {
					return err
				}
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all Nodes of the cluster (needs the right to list them)")
	return cmd
}
