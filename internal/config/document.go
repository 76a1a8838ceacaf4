package config

// The Go type of the configuration file. It is composed of the probes' own
// thresholds when it is needed, so that the YAML decoder itself knows every key,
// and the line of each that it does not know.

import (
	"fmt"
	"reflect"
	"time"

	"github.com/nodevitals/nodevitals/internal/probes"
	"github.com/nodevitals/nodevitals/internal/rules"
)

type logs struct {
	// Files are plain log files to follow; those that do not exist are waited for.
	Files []string `yaml:"files"`
	// Journal are the folders of systemd's journal files; [] turns them off.
	Journal []string `yaml:"journal"`
	// Kmsg: read the kernel's own log where that is allowed; else its records come
	// from the journal.
	Kmsg bool `yaml:"kmsg"`
	// LookBack is how far the first start looks back in the logs.
	LookBack time.Duration `yaml:"lookBack"`
	// Units says of further systemd units which program's lines they hold:
	// `my-kubelet.service: kubelet`.
	Units map[string]string `yaml:"units"`
	// Quiet is how long after its last log line a kind is over, where that is not to be
	// what `agent explain KIND` says: `PLEGUnhealthy: 5m`.
	Quiet map[string]time.Duration `yaml:"quiet"`
}

type conditions struct {
	// MinSeverity is the severity, warning or critical, from which a problem turns
	// its condition True.
	MinSeverity string `yaml:"minSeverity"`
	// Prefix stands in front of our conditions' types on the Node: letters that
	// begin with a capital, or a domain with a slash. Where another program writes
	// a condition of the same name, this keeps the two apart.
	Prefix string `yaml:"prefix"`
	// NPDTypes: publish node-problem-detector's own condition types (KernelDeadlock,
	// ReadonlyFilesystem, FrequentKubeletRestart and so on) as well, for consumers
	// that know those.
	NPDTypes bool `yaml:"npdTypes"`
}

// npd says which configurations of node-problem-detector to read.
type npd struct {
	// Configs are log-monitor files of node-problem-detector, read unchanged: also
	// lookback, delay, timestampFormat, metricsReporting and what conditions say
	// while nothing is wrong. What cannot be honoured is refused with its line.
	Configs []string `yaml:"configs"`
	// Quiet is how long after its last line a permanent condition is over.
	Quiet time.Duration `yaml:"quiet"`
}

// document is a pointer to a value of the file's type that holds the defaults.
func (c *Config) document() reflect.Value {
	var fields []reflect.StructField
	for i, s := range c.Probes {
		fields = append(fields, field(fmt.Sprintf("P%d", i), s.Name(), probeType(s)))
	}
	doc := reflect.New(reflect.StructOf([]reflect.StructField{
		field("Listen", "listen", reflect.TypeFor[string]()),
		field("StateFile", "stateFile", reflect.TypeFor[string]()),
		field("RunDir", "runDir", reflect.TypeFor[string]()),
		field("Logs", "logs", reflect.TypeFor[logs]()),
		field("Conditions", "conditions", reflect.TypeFor[conditions]()),
		field("Kubernetes", "kubernetes", reflect.TypeFor[kubernetes]()),
		field("Rules", "rules", reflect.TypeFor[[]rules.RuleSpec]()),
		field("NPD", "npd", reflect.TypeFor[npd]()),
		field("Probes", "probes", reflect.StructOf(fields)),
	}))
	v := doc.Elem()
	v.FieldByName("Listen").SetString(c.Listen)
	v.FieldByName("StateFile").SetString(c.StateFile)
	v.FieldByName("RunDir").SetString(c.RunDir)
	v.FieldByName("Logs").Set(reflect.ValueOf(logs{Files: c.LogFiles, Journal: c.JournalDirs, Kmsg: c.Kmsg, LookBack: c.LookBack}))
	v.FieldByName("Conditions").Set(reflect.ValueOf(conditions{c.MinSeverity.String(), c.Kube.Prefix, c.Kube.NPDTypes}))
	v.FieldByName("Kubernetes").Set(reflect.ValueOf(c.Kube.document()))
	v.FieldByName("NPD").Set(reflect.ValueOf(npd{Quiet: time.Hour}))
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

// apply takes the decoded values over, and returns the user's own rules, which
// are still to be compiled.
func (c *Config) apply(doc reflect.Value) ownRules {
	c.Listen = doc.FieldByName("Listen").String()
	c.StateFile = doc.FieldByName("StateFile").String()
	c.RunDir = doc.FieldByName("RunDir").String()
	l := doc.FieldByName("Logs").Interface().(logs)
	c.LogFiles, c.JournalDirs, c.Kmsg, c.LookBack = l.Files, l.Journal, l.Kmsg, l.LookBack
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
	// check tells that it is no severity.
	c.MinSeverity = 0
	cond := doc.FieldByName("Conditions").Interface().(conditions)
	_ = c.MinSeverity.UnmarshalText([]byte(cond.MinSeverity))
	c.Kube = doc.FieldByName("Kubernetes").Interface().(kubernetes).apply(cond)
	n := doc.FieldByName("NPD").Interface().(npd)
	return ownRules{
		specs: doc.FieldByName("Rules").Interface().([]rules.RuleSpec), units: l.Units, quiet: l.Quiet, npd: n.Configs, npdQuiet: n.Quiet,
	}
}
