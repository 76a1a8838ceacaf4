// Package config reads the one configuration file, strictly: a key that nobody
// reads, a value of the wrong type or a threshold that makes no sense is an
// error that names the file and the line.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/problem"
	"github.com/nodevitals/nodevitals/internal/rules"
)

// DefaultPath is where the agent looks for its configuration if it is told nothing.
const DefaultPath = "/etc/nodevitals/config.yaml"

// Config is the configuration with its defaults filled in.
type Config struct {
	// Listen is the address of the HTTP server.
	Listen string
	// LogFiles are plain log files to follow; those that do not exist are waited for.
	LogFiles []string
	// JournalDirs are the folders of systemd's journal files; none turns that off.
	JournalDirs []string
	// Kmsg: read the kernel's own log where that is allowed.
	Kmsg bool
	// LookBack is how far the first start looks back in the logs.
	LookBack time.Duration
	// NPDLookBack is how far back node-problem-detector's configurations look at the most.
	NPDLookBack time.Duration
	// StateFile is where the daemon keeps what a restart needs; empty keeps nothing.
	StateFile string
	// RunDir is where it keeps what must not outlive the boot.
	RunDir string
	// Rules, Buffers and Catalogue are the built-in ones and the user's own.
	Rules     *rules.Set
	Buffers   []*rules.Buffer
	FileRules map[string]*rules.Set // those that a log file is named for
	Catalogue *problem.Catalogue
	// MinSeverity is the severity from which a problem turns its condition True.
	MinSeverity problem.Severity
	// Kube says what is published to the API server.
	Kube Kube
	// Probes are all probes, the disabled ones too.
	Probes []probes.Spec
}

// Default is the configuration without a file.
func Default() Config {
	c := defaults()
	if bad := c.compile(ownRules{}); len(bad) > 0 {
		panic(bad) // the built-in rules are wrong; a test excludes it
	}
	return c
}

func defaults() Config {
	return Config{
		Listen: ":20258",
		LogFiles: []string{
			"/var/log/messages", "/var/log/syslog", "/var/log/kern.log", "/var/log/kubelet.log", "/var/log/docker.log",
		},
		JournalDirs: []string{"/var/log/journal", "/run/log/journal"},
		Kmsg:        true,
		LookBack:    10 * time.Minute,
		StateFile:   "/var/lib/nodevitals/state.json",
		RunDir:      "/run/nodevitals",
		MinSeverity: problem.Critical,
		Kube:        Kube{Publish: true, Events: true},
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
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	return Parse(path, raw)
}

// Parse reads a configuration; name is the file's name for errors. All errors
// are reported at once, joined, each with file and line.
func Parse(name string, raw []byte) (Config, error) {
	c := defaults()
	doc := c.document()
	if err := decodeStrict(raw, doc.Interface()); err != nil {
		return Config{}, located(name, err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(raw, &root); err != nil {
		return Config{}, located(name, err)
	}
	own := c.apply(doc.Elem())
	bad := c.check()
	bad = append(bad, c.compile(own)...)
	var errs []error
	for _, b := range bad {
		if len(b.path) == 0 { // it names its own file
			errs = append(errs, errors.New(b.what))
			continue
		}
		errs = append(errs, fmt.Errorf("%s:%d: %s: %s", name, lineOf(&root, b.path), strings.Join(b.path, "."), b.what))
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
	wrongType  = regexp.MustCompile("^line (\\d+): cannot unmarshal !!\\S+ (?:(`.*`) )?into (.*)")
	onLine     = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)`)
)

// typeName is a Go type in the words of YAML.
func typeName(goType string) string {
	switch goType {
	case "time.Duration":
		return "a duration, such as 10s or 5m"
	case "bool":
		return "true or false"
	case "string":
		return "a text"
	case "int", "int64", "uint64", "float64":
		return "a number that fits"
	}
	if strings.HasPrefix(goType, "[]") {
		return "a list"
	}
	return "a mapping of keys to values"
}

// located puts file and line in front of each of the YAML library's errors.
func located(name string, err error) error {
	lines := []string{err.Error()}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		lines = te.Errors
	}
	var errs []error
	for _, l := range lines {
		switch m := wrongType.FindStringSubmatch(l); {
		case m != nil:
			what := ""
			if m[2] != "" {
				what = ", not " + m[2]
			}
			errs = append(errs, fmt.Errorf("%s:%s: must be %s%s", name, m[1], typeName(m[3]), what))
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

// mistake is a value that is well formed and makes no sense.
type mistake struct {
	path []string
	what string
}

func (c *Config) check() []mistake {
	var bad []mistake
	if c.MinSeverity == 0 {
		bad = append(bad, mistake{[]string{"conditions", "minSeverity"}, "is none of info, warning, critical"})
	}
	bad = append(bad, c.Kube.check()...)
	if _, port, err := net.SplitHostPort(c.Listen); err != nil {
		bad = append(bad, mistake{[]string{"listen"}, err.Error()})
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		bad = append(bad, mistake{[]string{"listen"}, fmt.Sprintf("%q is no port", port)})
	}
	if c.LookBack < 0 {
		bad = append(bad, mistake{[]string{"logs", "lookBack"}, "lies in the future"})
	}
	bad = append(bad, c.checkPaths()...)
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

// checkPaths: those on the host are looked up below --root, and a daemon's own folder
// says nothing to who has written the file.
func (c *Config) checkPaths() []mistake {
	var bad []mistake
	absolute := func(path string, at ...string) {
		if !filepath.IsAbs(path) {
			bad = append(bad, mistake{at, fmt.Sprintf("%q is no absolute path", path)})
		}
	}
	for i, file := range c.LogFiles {
		absolute(file, "logs", "files", strconv.Itoa(i))
	}
	for i, folder := range c.JournalDirs {
		absolute(folder, "logs", "journal", strconv.Itoa(i))
	}
	if c.StateFile != "" {
		absolute(c.StateFile, "stateFile")
	}
	absolute(c.RunDir, "runDir")
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
		if index, err := strconv.Atoi(key); err == nil && n.Kind == yaml.SequenceNode && index < len(n.Content) {
			n = n.Content[index]
			line = n.Line
			continue
		}
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
