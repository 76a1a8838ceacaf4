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
// none of the marks, in lower case, has none.
type secretShape struct {
	marks   []string
	pattern *regexp.Regexp
	shown   []byte // what is put there instead
}

// secretShapes is never changed.
var secretShapes = []secretShape{
	{ // https://user:password@host, https://token@host
		[]string{"://"},
		regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/"'<>]+@`), []byte("${1}" + masked + "@"),
	},
	{ // Authorization: Bearer …, also quoted and as Go prints a header: Authorization:[Basic …]
		[]string{"authorization"},
		regexp.MustCompile(`(?i)(authorization\\*["']?\s*[:=]\s*\[?\\*["']?)(?:[a-z]+ +)?[^\s"',;\\\]]+`), []byte("${1}" + masked),
	},
	{
		[]string{"bearer"},
		regexp.MustCompile(`(?i)\b(bearer\s+)[\w.~+/=-]{8,}`), []byte("${1}" + masked),
	},
	{ // key=value of URLs, mount options, environments, logfmt
		secretWords,
		regexp.MustCompile(`(?i)(` + secretKey + `\\*["']?\s*=\s*\\*["']?)[^\s"',;&\\]+`), []byte("${1}" + masked),
	},
	{ // "key":"value" of JSON, however often it was quoted
		secretWords,
		regexp.MustCompile(`(?i)(` + secretKey + `\\*["']\s*:\s*\\*["'])[^"'\\]+`), []byte("${1}" + masked),
	},
	{ // key: value of YAML and headers; not "secret: …" and "token: …", which are prose
		[]string{"pass", "pwd", "key:", "-token:", "_token:"},
		regexp.MustCompile(`(?i)((?:passw(?:or)?d|passphrase|pwd|(?:api|access|private)[-_]?key|[-_]token):\s*)[^\s"',;]+`), []byte("${1}" + masked),
	},
	{ // --password value
		secretWords,
		regexp.MustCompile(`(?i)(\s--?[\w-]*` + secretKey + `\s+)[^\s"'-][^\s"']*`), []byte("${1}" + masked),
	},
	{ // JSON web tokens
		[]string{"eyj"},
		regexp.MustCompile(`\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?`), []byte(masked),
	},
	{ // tokens that say by their beginning whose they are: AWS, GitHub, GitLab, Slack, Google, Vault
		[]string{"akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "aiza", "hvs."},
		regexp.MustCompile(`\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}|hvs\.[\w-]{20,})`),
		[]byte(masked),
	},
	{
		[]string{"private key-----"},
		regexp.MustCompile(`(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?s:.)*`), []byte("${1}" + masked),
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

// mask is line with its secrets replaced; line itself, if there are none.
func mask(line []byte) []byte {
	found := secretMarks.in(line)
	for i, s := range secretShapes {
		if found&(1<<i) != 0 {
			line = s.pattern.ReplaceAll(line, s.shown)
		}
	}
	return maskBootstrapTokens(line)
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
