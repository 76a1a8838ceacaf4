package kube

// This file: taking our conditions off a Node, for good.

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nodevitals/nodevitals/internal/diagnosis"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// Nodes are the names of all Nodes of the cluster. The agent's own role does not
// allow to ask for them; that of the chart's clean-up does.
func Nodes(ctx context.Context, a Access) ([]string, error) {
	session, err := dial(a)
	if err != nil {
		return nil, err
	}
	defer session.close()
	return session.names(ctx)
}

// Cleanup removes all of our conditions from the Node of a.Node and says which. Ours
// are those of remembered types, and those with one of our reasons, or an imported one, and
// a type of the catalogue, behind whatever prefix, or of node-problem-detector.
func Cleanup(ctx context.Context, a Access, c *problem.Catalogue, remembered []string) ([]string, error) {
	session, err := dial(a)
	if err != nil {
		return nil, err
	}
	defer session.close()
	n, err := session.get(ctx)
	if err != nil {
		return nil, advised(err, a.Node)
	}
	own := ours{catalogue: c}
	mine := map[string]bool{}
	for _, found := range n.Status.Conditions {
		typ := found.Type
		for _, t := range append(c.Conditions(), diagnosis.NPDTypes()...) {
			imported, _ := c.Healthy(t)
			if strings.HasSuffix(typ, t) && (own.reason(found.Reason) || found.Reason != "" && found.Reason == imported.Reason) {
				mine[typ] = true
			}
		}
		for _, t := range remembered {
			if typ == t {
				mine[typ] = true
			}
		}
	}
	if len(mine) == 0 {
		return nil, nil
	}
	var p patch
	p.remove(sorted(mine))
	if err := session.patchStatus(ctx, func() ([]byte, error) { return json.Marshal(p) }); err != nil {
		return nil, advised(err, a.Node)
	}
	return sorted(mine), nil
}

func advised(err error, node string) error {
	if a := asFailure(err).advice(node); a != "" {
		return fmt.Errorf("%w (%s)", err, a)
	}
	return err
}
