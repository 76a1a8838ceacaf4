package main

// This file makes the reference of the configuration file: keys and defaults
// from the type that the decoder uses, meanings from its doc comments.

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/config"
)

// comments are the doc comments of types and of struct fields, by "Type" and
// "Type.Field".
type comments map[string]string

// readComments reads those of the packages whose types make up the file.
func readComments(top string) (comments, error) {
	all := comments{}
	for _, folder := range []string{"internal/config", "internal/probes", "internal/rules"} {
		files, err := filepath.Glob(filepath.Join(top, folder, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				return nil, err
			}
			ast.Inspect(parsed, all.collect)
		}
	}
	return all, nil
}

func (c comments) collect(n ast.Node) bool {
	if d, ok := n.(*ast.GenDecl); ok && len(d.Specs) == 1 {
		if t, ok := d.Specs[0].(*ast.TypeSpec); ok {
			c[t.Name.Name] = oneLine(d.Doc.Text())
		}
	}
	t, ok := n.(*ast.TypeSpec)
	if !ok {
		return true
	}
	s, ok := t.Type.(*ast.StructType)
	if !ok {
		return true
	}
	last := "" // several fields may stand below one comment
	for _, f := range s.Fields.List {
		if doc := f.Doc.Text() + f.Comment.Text(); doc != "" {
			last = oneLine(doc)
		}
		for _, name := range f.Names {
			c[t.Name.Name+"."+name.Name] = last
		}
	}
	return true
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// of is what the source says of a setting: the innermost comment on the way to it.
func (c comments) of(s config.Setting) string {
	if s.Type.Kind() == reflect.Slice && s.Type.Elem().Kind() == reflect.Struct {
		return c[s.Type.Elem().Name()]
	}
	for i := len(s.Fields) - 1; i >= 0; i-- {
		f := s.Fields[i]
		names := []string{f.Owner.Name()}
		if f.Owner.Name() == "" { // made for the document of Config and Spec
			names = []string{"Config", "Spec"}
		}
		for _, name := range names {
			if text := c[name+"."+f.Name]; text != "" && !isLevel(f.Name) {
				return text
			}
		}
	}
	return ""
}

// isLevel: warning and critical are said by their group's comment.
func isLevel(field string) bool { return field == "Warning" || field == "Critical" }

func configurationPage(settings []config.Setting, c comments) string {
	var b strings.Builder
	b.WriteString(`# Configuration

One YAML file, ` + "`" + config.DefaultPath + "`" + ` or the one that ` + "`--config`" + ` names. Every key has a default; what the file names
overrides it. It is read strictly: an unknown key, a wrong type or a threshold that makes no sense is an error with file and line.
` + "`agent check-config FILE`" + ` tells every mistake. Times are written as ` + "`10s`, `5m`, `1h30m`" + `. Each probe can be turned off
(` + "`enabled: false`" + `), and has a ` + "`period`" + ` and a ` + "`timeout`" + `, after which a run counts as failed.

## General

| key | default | meaning |
| --- | --- | --- |
`)
	probe := ""
	for i := 0; i < len(settings); i++ {
		s := settings[i]
		path, value := s.Path, valueOf(s)
		if rest, ok := strings.CutPrefix(path, "probes."); ok {
			name, key, _ := strings.Cut(rest, ".")
			if name != probe {
				probe = name
				fmt.Fprintf(&b, "\n## Probe %s\n\n%s\n", name, schedule(settings, name))
				if hasThresholds(settings, name) {
					fmt.Fprintf(&b, "\n| key below `probes.%s` | default | meaning |\n| --- | --- | --- |\n", name)
				}
			}
			if !strings.HasPrefix(key, "thresholds.") {
				continue
			}
			path = key
		}
		if strings.HasSuffix(path, ".warning") && i+1 < len(settings) {
			path, i = strings.TrimSuffix(path, ".warning"), i+1
			value = fmt.Sprintf("`{warning: %s, critical: %s}`", strings.Trim(value, "`"), strings.Trim(valueOf(settings[i]), "`"))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", path, value, cell(c.of(s)))
	}
	return b.String()
}

// schedule says in a sentence what every probe has.
func schedule(settings []config.Setting, probe string) string {
	get := func(key string) string {
		i := slices.IndexFunc(settings, func(s config.Setting) bool { return s.Path == "probes."+probe+"."+key })
		return valueOf(settings[i])
	}
	return fmt.Sprintf("`enabled` %s, `period` %s, `timeout` %s.", get("enabled"), get("period"), get("timeout"))
}

func hasThresholds(settings []config.Setting, probe string) bool {
	return slices.ContainsFunc(settings, func(s config.Setting) bool {
		return strings.HasPrefix(s.Path, "probes."+probe+".thresholds.")
	})
}

// valueOf is the default as it is written in the file.
func valueOf(s config.Setting) string {
	switch {
	case !s.Default.IsValid():
		return ""
	case s.IsDuration():
		return "`" + duration(time.Duration(s.Default.Int())) + "`"
	case s.Type.Kind() == reflect.Slice && s.Default.Len() == 0:
		return "`[]`"
	case s.Type.Kind() == reflect.Map && s.Default.Len() == 0:
		return "`{}`"
	}
	var n yaml.Node
	if err := n.Encode(s.Default.Interface()); err != nil {
		return ""
	}
	n.Style = yaml.FlowStyle
	out, err := yaml.Marshal(&n)
	if err != nil {
		return ""
	}
	return "`" + strings.Join(strings.Fields(string(out)), " ") + "`"
}

// duration without the zero parts that Go prints.
func duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
