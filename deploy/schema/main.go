// Command schema writes what of the Helm chart is made of the code: the schema of
// its values, and its copies of the alert rules and the dashboard. Run it in the
// project's top folder: go run ./deploy/schema
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/nodevitals/nodevitals/internal/config"
)

// base is the schema of all values but config.
//
//go:embed base.json
var base []byte

// copies are the chart's files and what they are copies of: Helm reads nothing
// outside of the chart.
var copies = map[string]string{
	"files/nodevitals.rules.yaml": "deploy/alerts/nodevitals.rules.yaml",
	"files/dashboard.json":        "deploy/dashboard/nodevitals.json",
}

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(1)
	}
}

func write(top string) error {
	all, err := files(top)
	if err != nil {
		return err
	}
	for name, text := range all {
		file := filepath.Join(top, "deploy/chart/nodevitals", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// files are the chart's made files by name.
func files(top string) (map[string][]byte, error) {
	schema := map[string]any{}
	if err := json.Unmarshal(base, &schema); err != nil {
		return nil, fmt.Errorf("base.json: %w", err)
	}
	schema["properties"].(map[string]any)["config"] = configSchema(config.Settings())
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{"values.schema.json": append(text, '\n')}
	for name, from := range copies {
		if all[name], err = os.ReadFile(filepath.Join(top, from)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// object is a schema that knows all its keys, so that a misspelt one is refused at
// install and not by the agent on every node.
func object() map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{}}
}

// configSchema is the schema of the agent's configuration file.
func configSchema(settings []config.Setting) map[string]any {
	top := object()
	for _, s := range settings {
		at := top
		keys := strings.Split(s.Path, ".")
		for _, key := range keys[:len(keys)-1] {
			name, inList := strings.CutSuffix(key, "[]")
			properties := at["properties"].(map[string]any)
			if inList {
				at = properties[name].(map[string]any)["items"].(map[string]any)
				continue
			}
			if properties[name] == nil {
				properties[name] = object()
			}
			at = properties[name].(map[string]any)
		}
		last := keys[len(keys)-1]
		schema := typeSchema(s.Type)
		if strings.HasSuffix(strings.ToLower(last), "severity") {
			schema["enum"] = []string{"info", "warning", "critical"}
		}
		at["properties"].(map[string]any)[last] = schema
	}
	return top
}

func typeSchema(t reflect.Type) map[string]any {
	if t == reflect.TypeFor[time.Duration]() {
		// What time.ParseDuration takes, without signs.
		return map[string]any{"type": "string", "pattern": `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$`}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return map[string]any{"type": "array", "items": object()}
		}
		return map[string]any{"type": "array", "items": typeSchema(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": typeSchema(t.Elem())}
	}
	return map[string]any{"type": "string"}
}
