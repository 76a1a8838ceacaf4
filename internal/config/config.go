// Package config reads the one configuration file, strictly: a key that nobody
// reads, a value of the wrong type or a threshold that makes no sense is an
// error that names the file and the line.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
)

// DefaultPath is where the agent looks for its configuration if it is told nothing.
const DefaultPath = "/etc/nodevitals/config.yaml"

// Config is the configuration with its defaults filled in.
type Config struct {
	// Listen is the address of the HTTP server.
	Listen string
	// LogFiles are plain log files to follow; those that do not exist are waited for.
	LogFiles []string
	// MinSeverity is the severity from which a problem turns its condition True.
	MinSeverity problem.Severity
	// Probes are all probes, the disabled ones too.
	Probes []probes.Spec
}

// Default is the configuration without a file.
func Default() Config {
	return Config{
		Listen: ":20258",
		LogFiles: []string{
			"/var/log/messages", "/var/log/syslog", "/var/log/kern.log", "/var/log/kubelet.log", "/var/log/docker.log",
		},
		MinSeverity: problem.Critical,
		Probes:      probes.All(),
	}
}

// Load reads the file at path over the defaults. With path "" it reads
// DefaultPath if that exists.
func Load(path string) (Config, error) {
	must := path != ""
	if !must {
		path = DefaultPath
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !must {
		return Default(), nil
	}
	if err != nil {
		return Config{}, err
	}
	return Parse(path, raw)
}

// Parse reads a configuration; name is the file's name for errors. All errors
// are reported at once, joined, each with file and line.
func Parse(name string, raw []byte) (Config, error) {
	c := Default()
	doc := c.document()
	if err := decodeStrict(raw, doc.Interface()); err != nil {
		return Config{}, located(name, err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(raw, &root); err != nil {
		return Config{}, located(name, err)
	}
	if err := c.apply(doc.Elem()); err != nil {
		return Config{}, fmt.Errorf("%s: %w", name, err)
	}
	var errs []error
	for _, bad := range c.check() {
		errs = append(errs, fmt.Errorf("%s:%d: %s: %s", name, lineOf(&root, bad.path), strings.Join(bad.path, "."), bad.what))
	}
	return c, errors.Join(errs...)
}

func decodeStrict(raw []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	err := d.Decode(into)
	if errors.Is(err, io.EOF) { // an empty file
		return nil
	}
	if err == nil && !errors.Is(d.Decode(new(yaml.Node)), io.EOF) {
		return errors.New("more than one YAML document")
	}
	return err
}

// The words of the YAML library, and ours: its own print the Go type.
var (
	unknownKey = regexp.MustCompile(`^line (\d+): field (\S+) not found in type .*`)
	onLine     = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)`)
)

// located puts file and line in front of each of the YAML library's errors.
func located(name string, err error) error {
	lines := []string{err.Error()}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		lines = te.Errors
	}
	var errs []error
	for _, l := range lines {
		l = strings.ReplaceAll(l, "into time.Duration", "into a duration, such as 10s or 5m")
		switch {
		case unknownKey.MatchString(l):
			errs = append(errs, errors.New(unknownKey.ReplaceAllString(l, name+`:$1: unknown key "$2"`)))
		case onLine.MatchString(l):
			errs = append(errs, errors.New(onLine.ReplaceAllString(l, name+":$1: $2")))
		default:
			errs = append(errs, fmt.Errorf("%s: %s", name, strings.TrimPrefix(l, "yaml: ")))
		}
	}
	return errors.Join(errs...)
}

// document is the Go type of the file, as a pointer to a value that holds the
// defaults. It is composed here of the probes' own thresholds, so that the
// decoder itself knows every key, and the line of each that it does not know.
func (c *Config) document() reflect.Value {
	var fields []reflect.StructField
	for i, s := range c.Probes {
		fields = append(fields, field(fmt.Sprintf("P%d", i), s.Name(), probeType(s)))
	}
	doc := reflect.New(reflect.StructOf([]reflect.StructField{
		field("Listen", "listen", reflect.TypeFor[string]()),
		field("Logs", "logs", reflect.TypeFor[logs]()),
		field("Conditions", "conditions", reflect.TypeFor[conditions]()),
		field("Probes", "probes", reflect.StructOf(fields)),
	}))
	v := doc.Elem()
	v.FieldByName("Listen").SetString(c.Listen)
	v.FieldByName("Logs").Set(reflect.ValueOf(logs{c.LogFiles}))
	v.FieldByName("Conditions").Set(reflect.ValueOf(conditions{c.MinSeverity.String()}))
	for i, s := range c.Probes {
		p := v.FieldByName("Probes").Field(i)
		p.FieldByName("Enabled").SetBool(s.Enabled)
		p.FieldByName("Period").Set(reflect.ValueOf(s.Period))
		p.FieldByName("Timeout").Set(reflect.ValueOf(s.Timeout))
		if s.Thresholds != nil {
			p.FieldByName("Thresholds").Set(reflect.ValueOf(s.Thresholds).Elem())
		}
	}
	return doc
}

type logs struct {
	Files []string `yaml:"files"`
}

type conditions struct {
	MinSeverity string `yaml:"minSeverity"`
}

func field(name, key string, t reflect.Type) reflect.StructField {
	return reflect.StructField{Name: name, Type: t, Tag: reflect.StructTag(fmt.Sprintf(`yaml:%q`, key))}
}

func probeType(s probes.Spec) reflect.Type {
	fields := []reflect.StructField{
		field("Enabled", "enabled", reflect.TypeFor[bool]()),
		field("Period", "period", reflect.TypeFor[time.Duration]()),
		field("Timeout", "timeout", reflect.TypeFor[time.Duration]()),
	}
	if s.Thresholds != nil {
		fields = append(fields, field("Thresholds", "thresholds", reflect.TypeOf(s.Thresholds).Elem()))
	}
	return reflect.StructOf(fields)
}

// apply takes the decoded values over.
func (c *Config) apply(doc reflect.Value) error {
	c.Listen = doc.FieldByName("Listen").String()
	c.LogFiles = doc.FieldByName("Logs").Interface().(logs).Files
	for i := range c.Probes {
		s := &c.Probes[i]
		p := doc.FieldByName("Probes").Field(i)
		s.Enabled = p.FieldByName("Enabled").Bool()
		s.Period = p.FieldByName("Period").Interface().(time.Duration)
		s.Timeout = p.FieldByName("Timeout").Interface().(time.Duration)
		if s.Thresholds != nil {
			reflect.ValueOf(s.Thresholds).Elem().Set(p.FieldByName("Thresholds"))
		}
	}
	text := doc.FieldByName("Conditions").Interface().(conditions).MinSeverity
	if err := c.MinSeverity.UnmarshalText([]byte(text)); err != nil || text == "" {
		return fmt.Errorf("conditions.minSeverity: %q is none of info, warning, critical", text)
	}
	return nil
}

// mistake is a value that is well formed and makes no sense.
type mistake struct {
	path []string
	what string
}

func (c *Config) check() []mistake {
	var bad []mistake
	for _, s := range c.Probes {
		path := []string{"probes", s.Name()}
		if s.Period < time.Second {
			bad = append(bad, mistake{append(slices.Clone(path), "period"), fmt.Sprintf("%v is shorter than 1s", s.Period)})
		}
		if s.Timeout < 100*time.Millisecond {
			bad = append(bad, mistake{append(slices.Clone(path), "timeout"), fmt.Sprintf("%v is shorter than 100ms", s.Timeout)})
		}
		if s.Thresholds != nil {
			bad = append(bad, checkLevels(append(path, "thresholds"), reflect.ValueOf(s.Thresholds).Elem())...)
		}
	}
	return bad
}

// checkLevels looks at every pair of levels within a struct of thresholds, and
// at its own Validate, if it has one.
func checkLevels(path []string, v reflect.Value) []mistake {
	var bad []mistake
	if val, ok := v.Interface().(interface{ Validate() error }); ok {
		if err := val.Validate(); err != nil {
			bad = append(bad, mistake{path, err.Error()})
		}
	}
	if v.Kind() != reflect.Struct {
		return bad
	}
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		bad = append(bad, checkLevels(append(slices.Clone(path), key), v.Field(i))...)
	}
	return bad
}

// lineOf is the line of the deepest key of path that the document has.
func lineOf(n *yaml.Node, path []string) int {
	line := max(n.Line, 1)
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, key := range path {
		i := 0
		for i+1 < len(n.Content) && n.Content[i].Value != key {
			i += 2
		}
		if n.Kind != yaml.MappingNode || i+1 >= len(n.Content) {
			break
		}
		line, n = n.Content[i].Line, n.Content[i+1]
	}
	return line
}
