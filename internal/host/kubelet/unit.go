package kubelet

// This file reads systemd's unit files as far as the command line of a service needs
// it, see systemd.syntax(7), systemd.service(5) and systemd.exec(5).

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// unitFolders is where unit files are, the most important first (systemd.unit(5)).
func unitFolders() []string {
	return []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}
}

// command is the command line that systemd starts a unit with.
type command struct {
	words []string
	from  string // the unit file
}

// unit reads the unit and its drop-ins; a unit that is not there, or is masked, has no
// command.
func (r *reader) unit(name string) (command, error) {
	files, err := r.unitFiles(name)
	if err != nil || len(files) == 0 {
		return command{}, err
	}
	host, _ := r.h.Hostname() // without it %H stays as it is written
	svc := service{env: map[string]string{}, specifiers: specifiers(name, host)}
	for _, f := range files {
		b, ok, err := r.readIfThere(f)
		if err != nil {
			return command{}, err
		}
		if ok {
			svc.merge(b)
		}
	}
	// A file's variables win over Environment=, whichever comes first.
	env := maps.Clone(svc.env)
	for _, pattern := range svc.envFiles {
		files, err := r.glob(pattern)
		if err != nil {
			return command{}, err
		}
		for _, f := range files {
			b, _, err := r.readIfThere(f)
			if err != nil {
				return command{}, err
			}
			maps.Copy(env, parseEnvFile(b))
		}
	}
	return command{words: expand(splitWords(svc.execStart), env), from: files[0]}, nil
}

// unitFiles is the unit's file, followed by its drop-ins in the order of their names.
// A name in an earlier folder hides the same name in a later one.
func (r *reader) unitFiles(name string) ([]string, error) {
	var files []string
	dropins := map[string]string{}
	for _, dir := range unitFolders() {
		if f := path.Join(dir, name); len(files) == 0 && r.exists(f) {
			files = append(files, f)
		}
		names, err := r.listIfThere(path.Join(dir, name+".d"))
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if _, hidden := dropins[n]; !hidden && path.Ext(n) == ".conf" {
				dropins[n] = path.Join(dir, name+".d", n)
			}
		}
	}
	if len(files) == 0 {
		return nil, nil
	}
	for _, n := range slices.Sorted(maps.Keys(dropins)) {
		files = append(files, dropins[n])
	}
	return files, nil
}

// service is the part of a unit's [Service] section that makes a command line.
type service struct {
	execStart  string // as written
	env        map[string]string
	envFiles   []string // or patterns of their names
	specifiers *strings.Replacer
}

// specifiers replaces those that mean the same in every service of the system
// (systemd.unit(5), "Specifiers"), and the unit's names; others stay as they are.
func specifiers(unit, host string) *strings.Replacer {
	name := strings.TrimSuffix(unit, ".service")
	pairs := []string{
		"%%", "%", "%n", unit, "%N", name, "%p", name, "%t", "/run", "%S", "/var/lib", "%C", "/var/cache",
		"%L", "/var/log", "%E", "/etc", "%T", "/tmp", "%V", "/var/tmp", "%h", "/root", "%u", "root", "%U", "0",
	}
	if host != "" {
		pairs = append(pairs, "%H", host, "%l", strings.SplitN(host, ".", 2)[0])
	}
	return strings.NewReplacer(pairs...)
}

// merge reads one unit file over s: an empty value takes back what came before.
func (s *service) merge(b []byte) {
	section := ""
	for _, line := range logicalLines(string(b)) {
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, val, ok := strings.Cut(line, "=")
		if !ok || section != "[Service]" {
			continue
		}
		val = s.specifiers.Replace(strings.TrimSpace(val))
		switch strings.TrimSpace(key) {
		case "ExecStart":
			s.execStart = val
		case "Environment":
			if val == "" {
				clear(s.env)
			}
			for _, w := range splitWords(val) {
				if k, v, ok := strings.Cut(w.text, "="); ok {
					s.env[k] = v
				}
			}
		case "EnvironmentFile":
			if val == "" {
				s.envFiles = nil
			} else if f := strings.TrimPrefix(val, "-"); path.IsAbs(f) {
				s.envFiles = append(s.envFiles, f)
			}
		}
	}
}

// logicalLines is the lines that say something: comments and empty lines left out,
// and a line that ends in a backslash joined with the next.
func logicalLines(s string) []string {
	var lines []string
	cur, more := "", false
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line == "" && !more || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		line, again := strings.CutSuffix(line, `\`)
		cur += line
		if again {
			cur, more = cur+" ", true
			continue
		}
		lines = append(lines, cur)
		cur, more = "", false
	}
	if more {
		lines = append(lines, strings.TrimSpace(cur))
	}
	return lines
}

// parseEnvFile reads NAME=value lines with a shell's quotes, as EnvironmentFile= does.
func parseEnvFile(b []byte) map[string]string {
	env := map[string]string{}
	for _, line := range logicalLines(string(b)) {
		k, v, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !ok {
			continue
		}
		var parts []string
		for _, w := range splitWords(v) {
			parts = append(parts, w.text)
		}
		env[strings.TrimSpace(k)] = strings.Join(parts, " ")
	}
	return env
}

// word is one word of a command line, without its quotes.
type word struct {
	text   string
	quoted bool // some of it
}

// splitWords splits at white space outside of quotes. In and outside of double quotes
// a backslash takes the next character as it is. A quote that never ends, ends.
func splitWords(s string) []word {
	var words []word
	var cur strings.Builder
	var quote rune
	in, quoted, escaped := false, false, false
	for _, c := range s {
		switch {
		case escaped:
			cur.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			in, escaped = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			cur.WriteRune(c)
		case c == '"' || c == '\'':
			quote, in, quoted = c, true, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if in {
				words = append(words, word{cur.String(), quoted})
				cur.Reset()
			}
			in, quoted = false, false
		default:
			cur.WriteRune(c)
			in = true
		}
	}
	if in {
		words = append(words, word{cur.String(), quoted})
	}
	return words
}

// expand replaces variables: $NAME that is a word of its own becomes as many words as
// its value has; ${NAME} stays within its word; $$ is a $.
func expand(words []word, env map[string]string) []string {
	var out []string
	for _, w := range words {
		if name, ok := strings.CutPrefix(w.text, "$"); ok && !w.quoted && isName(name) {
			for _, v := range splitWords(env[name]) {
				out = append(out, v.text)
			}
			continue
		}
		out = append(out, expandBraces(w.text, env))
	}
	return out
}

func expandBraces(s string, env map[string]string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, closed := strings.Cut(strings.TrimPrefix(rest, "{"), "}")
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			s = rest[1:]
		case strings.HasPrefix(rest, "{") && closed && isName(name):
			b.WriteString(env[name])
			s = after
		default:
			b.WriteByte('$')
			s = rest
		}
	}
}

func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}
