// Package cni reads how pods' networks are set up: the network configuration that
// the container runtime uses (CNI specification, version 1.1), the plugins that it
// needs, and the addresses that the plugin host-local has given away.
//
// This file: the configuration, from its JSON.
package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Network is one network configuration.
type Network struct {
	Name    string
	Plugins []Plugin
}

// Plugin is one plugin of a network: a program that the runtime calls for each pod.
type Plugin struct {
	Type string
	IPAM *IPAM // nil: it gives out no addresses, or not by a plugin of its own
	// Delegates: it makes the configuration of another plugin when it is called
	// (flannel).
	Delegates bool
	// DelegateIPAM is where the other plugin keeps its addresses.
	DelegateIPAM string
}

// IPAM is where a plugin has its addresses from.
type IPAM struct {
	Type    string
	DataDir string // host-local: where it keeps reservations; empty: as usual
	// Sets are host-local's ranges; none: the file does not tell them, or not all.
	Sets [][]Range
}

// rawNetwork is a .conflist, or a .conf with a single plugin at its top.
type rawNetwork struct {
	Name    string      `json:"name"`
	Plugins []rawPlugin `json:"plugins"`
	rawPlugin
}

type rawPlugin struct {
	Type     string   `json:"type"`
	IPAM     *rawIPAM `json:"ipam"`
	Delegate *struct {
		IPAM *rawIPAM `json:"ipam"`
	} `json:"delegate"`
}

type rawIPAM struct {
	Type    string       `json:"type"`
	DataDir string       `json:"dataDir"`
	Ranges  [][]rawRange `json:"ranges"`
	rawRange
}

// maxPlugins is how many plugins, and address ranges, a network may have: real ones
// have fewer than ten.
const maxPlugins = 64

// Parse reads a network configuration, a list or a single plugin.
func Parse(b []byte) (Network, error) {
	var raw rawNetwork
	if err := json.Unmarshal(b, &raw); err != nil {
		return Network{}, notJSON(b, err)
	}
	if raw.Plugins == nil && raw.Type != "" {
		raw.Plugins = []rawPlugin{raw.rawPlugin}
	}
	if len(raw.Plugins) == 0 || len(raw.Plugins) > maxPlugins {
		return Network{}, fmt.Errorf("it names %d plugins", len(raw.Plugins))
	}
	n := Network{Name: raw.Name}
	for i, p := range raw.Plugins {
		// The runtime takes the type for the name of a file.
		if !program(p.Type) || p.IPAM != nil && p.IPAM.Type != "" && !program(p.IPAM.Type) {
			return Network{}, fmt.Errorf("the type of its plugin %d is no name of a program: %.40q", i+1, p.Type)
		}
		plugin := Plugin{Type: p.Type, Delegates: p.Type == "flannel"}
		if p.Delegate != nil && p.Delegate.IPAM != nil {
			plugin.DelegateIPAM = p.Delegate.IPAM.Type
		}
		if p.IPAM != nil && p.IPAM.Type != "" {
			ipam, err := p.IPAM.parse()
			if err != nil {
				return Network{}, fmt.Errorf("the addresses of its plugin %s: %w", p.Type, err)
			}
			plugin.IPAM = &ipam
		}
		n.Plugins = append(n.Plugins, plugin)
	}
	return n, nil
}

// program tells whether a type can be the name of a file in a folder of plugins.
func program(typ string) bool {
	return typ != "" && len(typ) < 256 && typ == path.Base(typ) && !strings.HasPrefix(typ, ".")
}

func (r *rawIPAM) parse() (IPAM, error) {
	ipam := IPAM{Type: r.Type, DataDir: r.DataDir}
	if r.Type != HostLocal {
		return ipam, nil
	}
	sets := r.Ranges
	if r.Subnet != "" { // the old form: one range, beside the others
		sets = append([][]rawRange{{r.rawRange}}, sets...)
	}
	if len(sets) > maxPlugins {
		return ipam, fmt.Errorf("%d sets of ranges", len(sets))
	}
	for _, set := range sets {
		if len(set) > maxPlugins {
			return ipam, fmt.Errorf("a set of %d ranges", len(set))
		}
		var ranges []Range
		for _, raw := range set {
			if raw.elsewhere() {
				return IPAM{Type: r.Type, DataDir: r.DataDir}, nil
			}
			one, err := raw.parse()
			if err != nil {
				return ipam, err
			}
			ranges = append(ranges, one)
		}
		ipam.Sets = append(ipam.Sets, ranges)
	}
	return ipam, nil
}

// notJSON says where the JSON ends to be one, by line.
func notJSON(b []byte, err error) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case len(b) == 0:
		return errors.New("it is empty")
	case errors.As(err, &syntax):
		at := min(int(syntax.Offset), len(b))
		return fmt.Errorf("it is no JSON: line %d: %w", 1+strings.Count(string(b[:at]), "\n"), err)
	case errors.As(err, &typ):
		return fmt.Errorf("its %.40q is a JSON %s", typ.Field, typ.Value)
	}
	return err
}
