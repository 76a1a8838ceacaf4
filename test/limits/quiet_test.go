package limits

import (
	"errors"
	"testing"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// TestQuietLimitsOnThisMachine: on a machine that is well, the probes of the
// limits that fail quietly find nothing wrong, twice in a row, and measure something.
func TestQuietLimitsOnThisMachine(t *testing.T) {
	n := node(t)
	for _, p := range []probes.Probe{
		probes.NewInotify(), probes.NewConntrack(), probes.NewNeighbours(), probes.NewTCPMemory(), probes.NewDaemonFiles(), probes.NewClock(),
	} {
		for range 2 {
			r, err := p.Run(t.Context(), n)
			var missing *problem.NotApplicableError
			if errors.As(err, &missing) {
				t.Logf("%s: %v", p.Name(), err)
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", p.Name(), err)
				continue
			}
			for _, v := range r.Verdicts {
				if v.State == problem.Wrong {
					t.Errorf("%s: %+v", p.Name(), v)
				}
			}
			if len(r.Measurements)+len(r.Verdicts) == 0 {
				t.Errorf("%s neither measured anything nor said why", p.Name())
			}
		}
	}
}
