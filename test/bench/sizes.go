package main

// This file tells how large what is shipped is.

import (
	"fmt"
	"os"
)

// sizes are those of the program and of its image, of which there may be none.
func sizes(o options) ([]figure, error) {
	const mb = 1e6
	own, err := os.Stat(o.agent)
	if err != nil {
		return nil, err
	}
	figures := []figure{{what: "program, size", node: "-", value: float64(own.Size()) / mb, budget: 40, unit: "MB"}}
	if o.peer != "" {
		peer, err := os.Stat(o.peer)
		if err != nil {
			return nil, err
		}
		figures[0].beside, figures[0].other = peerName, float64(peer.Size())/mb
	}
	if image, err := os.Stat(o.image); err != nil {
		say("SKIPPED: the size of the image: %v (make image)", err)
	} else {
		figures = append(figures, figure{what: fmt.Sprintf("image, for %d platforms", platforms), node: "-", value: float64(image.Size()) / mb, budget: platforms * 10, unit: "MB"})
	}
	return figures, nil
}

// platforms are those in the image (make image): amd64 and arm64.
const platforms = 2
