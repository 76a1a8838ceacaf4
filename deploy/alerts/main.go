// Command alerts writes the Prometheus rules for what nodevitals reports, made
// from its catalogue. Run it in the project's top folder: go run ./deploy/alerts
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/problem"
)

const header = `# Prometheus alert rules of nodevitals. Made from its catalogue by "make generate":
# do not edit. inhibit.yaml beside it is for Alertmanager.
`

func main() {
	if err := write("deploy/alerts"); err != nil {
		fmt.Fprintln(os.Stderr, "alerts:", err)
		os.Exit(1)
	}
}

func write(folder string) error {
	text, err := render(groups(problem.Builtin()))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, rulesFile), text, 0o644)
}

const rulesFile = "nodevitals.rules.yaml"

func render(groups []group) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(header)
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(map[string][]group{"groups": groups}); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}
