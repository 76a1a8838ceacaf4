package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nodevitals/nodevitals/internal/config"
	"github.com/nodevitals/nodevitals/internal/rules"
)

func TestMatch(t *testing.T) {
	const lookup = `E1122 10:00:00.000000    1234 reflector.go:147] dial tcp: lookup NAME on 10.0.0.2:53: no such host`
	var lines, want []string
	add := func(line, kinds string) {
		lines, want = append(lines, line), append(want, kinds+"\t"+line)
	}
	add("nothing at all", "-")
	add(`E1122 10:00:00.000000    1234 kubelet.go:2347] "Skipping pod synchronization" err="PLEG is not healthy: pleg was last seen active 3m1s ago; threshold is 3m0s"`, "PLEGUnhealthy")
	add(`E1122 10:00:00.000000    1234 kubelet.go:2347] "Skipping pod synchronization" err="PLEG is not healthy: pleg has yet to be successful"`, "-")
	add(`I1122 10:00:00.000000    1234 kubelet.go:2337] "Starting kubelet main sync loop"`, "-")
	// One name may be misspelt; three are not.
	for _, name := range []string{"a", "a", "b", "a"} {
		add(strings.Replace(lookup, "NAME", name+".example.com", 1), "-")
	}
	add(strings.Replace(lookup, "NAME", "c.example.com", 1), "DNSFailure")
	add(`F1122 10:00:00.000000    1234 server.go:265] something new has happened`, "KubeletDown")
	add(`Nov 22 10:00:00 n1 app[7]: F1122 10:00:00.000000    1234 server.go:265] something new has happened`, "KubeletDown")
	var out bytes.Buffer
	if err := match(strings.NewReader(strings.Join(lines, "\n")+"\n"), &out, config.Default(), rules.Kubelet); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSuffix(out.String(), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}
