package config

// This file lists the keys of the configuration file, for the documentation and
// the chart's schema: both are made of the type that the decoder itself uses.

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// Setting is a key of the configuration file.
type Setting struct {
	// Path is the way to it, the keys joined by dots; of a list's elements it goes
	// on with []: rules[].kind.
	Path string
	// Type is its Go type; a struct that is a map of further settings has none of its own.
	Type reflect.Type
	// Default is its value in an agent without a configuration file. That of a
	// list's element is invalid: there is none.
	Default reflect.Value
	// Fields are the struct fields on the way to it, outermost first, so that their
	// doc comments can be found.
	Fields []Field
}

// Field is a field of a struct type; a type that is made for the document has no name.
type Field struct {
	Owner reflect.Type
	Name  string
}

// Settings are all keys, in the file's order.
func Settings() []Setting {
	c := defaults()
	var all []Setting
	collect("", nil, c.document().Elem(), &all)
	return all
}

func collect(prefix string, way []Field, v reflect.Value, into *[]Setting) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" || key == "-" {
			continue
		}
		s := Setting{
			Path: prefix + key, Type: f.Type, Default: v.Field(i), Fields: append(slices.Clip(way), Field{t, f.Name}),
		}
		switch {
		case f.Type.Kind() == reflect.Struct:
			collect(s.Path+".", s.Fields, v.Field(i), into)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			*into = append(*into, s)
			collectElement(s, into)
		default:
			*into = append(*into, s)
		}
	}
}

// collectElement lists the keys of a list's elements, which have no defaults.
func collectElement(list Setting, into *[]Setting) {
	var inside []Setting
	collect(list.Path+"[].", list.Fields, reflect.New(list.Type.Elem()).Elem(), &inside)
	for _, s := range inside {
		s.Default = reflect.Value{}
		*into = append(*into, s)
	}
}

// IsDuration tells whether the setting is a time, written as 10s or 5m.
func (s Setting) IsDuration() bool { return s.Type == reflect.TypeFor[time.Duration]() }
