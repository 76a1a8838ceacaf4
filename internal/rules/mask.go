package rules

// This file: what must not be shown of a log line. Whatever becomes a claim goes
// through it, and from there to reports, metrics, Events and the state file.

import (
	"bytes"
	"regexp"
	"slices"
)

// masked stands in the place of a secret.
const masked = "***"

// secretKey ends the names of things that are secret: client_secret, PGPASSWORD,
// X-Amz-Signature, AccountKey. What goes on (secretName, tokenExpirationSeconds)
// names no secret.
const secretKey = `(?:pass|password|passwd|passphrase|passcode|pwd|secret|token|credentials?|signature|\bsig|auth` +
	`|(?:api|access|account|private|secret|shared|encryption)[-_]?key(?:[-_]?id)?)`

// secretWords are the words of secretKey, cut down to what all of their forms
// hold.
var secretWords = []string{"pass", "pwd", "secret", "token", "credential", "sig", "auth", "key"}

// secretShape is one way in which secrets stand in log lines. A line that has
// none of the marks, in lower case, has none. The pattern's group is the secret.
type secretShape struct {
	marks   []string
	pattern *regexp.Regexp
}

// secretShapes is never changed.
var secretShapes = []secretShape{
	{ // https://user:password@host, https://token@host
		[]string{"://"},
		regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://([^\s/"'<>]+)@`),
	},
	{ // Authorization: Bearer …, also quoted and as Go prints a header: Authorization:[Basic …]
		[]string{"authorization"},
		regexp.MustCompile(`(?i)authorization\\*["']?\s*[:=]\s*\[?\\*["']?((?:[a-z]+ +)?[^\s"',;\\\]]+)`),
	},
	{
		[]string{"bearer"},
		regexp.MustCompile(`(?i)\bbearer\s+([\w.~+/=-]{8,})`),
	},
	{ // key=value of URLs, mount options, environments, logfmt
		secretWords,
		regexp.MustCompile(`(?i)` + secretKey + `\\*["']?\s*=\s*\\*["']?([^\s"',;&\\]+)`),
	},
	{ // "key":"value" of JSON, however often it was quoted
		secretWords,
		regexp.MustCompile(`(?i)` + secretKey + `\\*["']\s*:\s*\\*["']([^"'\\]+)`),
	},
	{ // key: value of YAML and headers; not "secret: …" and "token: …", which are prose
		[]string{"pass", "pwd", "key:", "-token:", "_token:"},
		regexp.MustCompile(`(?i)(?:passw(?:or)?d|passphrase|pwd|(?:api|access|private)[-_]?key|[-_]token):\s*([^\s"',;]+)`),
	},
	{ // --password value
		secretWords,
		regexp.MustCompile(`(?i)\s--?[\w-]*` + secretKey + `\s+([^\s"'-][^\s"']*)`),
	},
	{ // JSON web tokens
		[]string{"eyj"},
		regexp.MustCompile(`\b(eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?)`),
	},
	{ // tokens that say by their beginning whose they are: AWS, GitHub, GitLab, Slack, Google, Vault
		[]string{"akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "aiza", "hvs."},
		regexp.MustCompile(`\b((?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}|hvs\.[\w-]{20,})`),
	},
	{
		[]string{"private key-----"},
		regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----((?s:.)*)`),
	},
}

// marks finds the marks of all shapes in one go: by their first two bytes, of
// which a bit map knows all.
type marks struct {
	pairs [1 << 16 / 64]uint64
	of    []mark
}

// mark is one text, in lower case, and which shapes have it.
type mark struct {
	text   string
	shapes uint32
}

// secretMarks is never changed.
var secretMarks = newMarks(secretShapes)

func newMarks(shapes []secretShape) *marks {
	m := &marks{}
	for i, s := range shapes {
		for _, text := range s.marks {
			k := slices.IndexFunc(m.of, func(o mark) bool { return o.text == text })
			if k < 0 {
				k = len(m.of)
				m.of = append(m.of, mark{text: text})
			}
			m.of[k].shapes |= 1 << i
			p := pair(text[0], text[1])
			m.pairs[p/64] |= 1 << (p % 64)
		}
	}
	return m
}

// pair folds letters to lower case, and some other bytes to one another, which
// the comparison sorts out.
func pair(a, b byte) uint16 { return uint16(a|0x20)<<8 | uint16(b|0x20) }

// in returns a bit for each shape of which line holds a mark.
func (m *marks) in(line []byte) (shapes uint32) {
	for i := 0; i+1 < len(line); i++ {
		if p := pair(line[i], line[i+1]); m.pairs[p/64]&(1<<(p%64)) == 0 {
			continue
		}
		for _, o := range m.of {
			if shapes&o.shapes != o.shapes && hasPrefixFold(line[i:], o.text) {
				shapes |= o.shapes
			}
		}
	}
	return shapes
}

// mask is line with its secrets replaced; line itself, if there are none. All are
// looked for in the line as it is: what hides one must not hide the mark of
// another ("Authorization: password=…").
func mask(line []byte) []byte {
	var secrets []span
	found := secretMarks.in(line)
	for i, s := range secretShapes {
		if found&(1<<i) != 0 {
			secrets = s.find(secrets, line)
		}
	}
	if len(secrets) > 0 {
		line = without(line, secrets)
	}
	return maskBootstrapTokens(line)
}

// span is a part of a line, from its first byte to before its end.
type span struct{ from, to int }

// maxWithin is in how many secrets of a line another of the same shape is looked
// for. It keeps a line that is made for it from taking quadratic time.
const maxWithin = 16

// find appends where secrets of this shape are.
func (s secretShape) find(to []span, line []byte) []span {
	for at, n := 0, 0; at < len(line); n++ {
		m := s.pattern.FindSubmatchIndex(line[at:])
		if m == nil || m[2] == m[3] {
			break
		}
		to = append(to, span{at + m[2], at + m[3]})
		if n < maxWithin {
			at += m[2]
		} else {
			at += m[3]
		}
	}
	return to
}

// without is line with one mark for each secret, and for those that overlap.
func without(line []byte, secrets []span) []byte {
	slices.SortFunc(secrets, func(a, b span) int { return a.from - b.from })
	out := make([]byte, 0, len(line))
	shown := 0 // up to here the line is shown, or hidden
	for i, s := range secrets {
		if i == 0 || s.from > shown {
			out = append(append(out, line[shown:s.from]...), masked...)
		}
		shown = max(shown, s.to)
	}
	return append(out, line[shown:]...)
}

// maskBootstrapTokens masks kubeadm's tokens, [a-z0-9]{6}.[a-z0-9]{16}: nothing
// marks them but a dot, which most lines have.
func maskBootstrapTokens(line []byte) []byte {
	const id, secret = 6, 16
	for at := 0; ; at++ {
		i := bytes.IndexByte(line[at:], '.')
		if i < 0 {
			return line
		}
		at += i
		if lettersBefore(line[:at], id) && lettersAfter(line[at+1:], secret) {
			line = slices.Concat(line[:at+1], []byte(masked), line[at+1+secret:])
		}
	}
}

// lettersAfter reports whether b begins with a word of exactly n small letters
// and digits; lettersBefore, whether it ends with one.
func lettersAfter(b []byte, n int) bool {
	return len(b) >= n && !slices.ContainsFunc(b[:n], notOfToken) && (len(b) == n || !isWord(b[n]))
}

func lettersBefore(b []byte, n int) bool {
	rest := len(b) - n
	return rest >= 0 && !slices.ContainsFunc(b[rest:], notOfToken) && (rest == 0 || !isWord(b[rest-1]))
}

func notOfToken(c byte) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') }

func isWord(c byte) bool { return !notOfToken(c) || c >= 'A' && c <= 'Z' || c == '_' }

// maskedPart is a part of a line of which the whole, masked, is given: what is
// not in there any more was secret, also if the part alone does not show it.
func maskedPart(part, whole []byte) []byte {
	if bytes.Contains(whole, part) {
		return part
	}
	if m := mask(part); !bytes.Equal(m, part) {
		return m
	}
	return []byte(masked)
}
