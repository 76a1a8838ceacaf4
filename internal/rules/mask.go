package rules

// This file: what must not be shown of a log line. Whatever becomes a claim goes
// through it, and from there to reports, metrics, Events and the state file.

import (
	"bytes"
	"regexp"
)

// masked stands in the place of a secret.
const masked = "***"

// secretKey ends the names of things that are secret: client_secret, PGPASSWORD,
// X-Amz-Signature, AccountKey. What goes on (secretName, tokenExpirationSeconds)
// names no secret.
const secretKey = `(?:pass|password|passwd|passphrase|passcode|pwd|secret|token|credentials?|signature|\bsig|auth` +
	`|(?:api|access|account|private|secret|shared|encryption)[-_]?key(?:[-_]?id)?)`

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
		[]string{"="},
		regexp.MustCompile(`(?i)(` + secretKey + `\\*["']?\s*=\s*\\*["']?)[^\s"',;&\\]+`), []byte("${1}" + masked),
	},
	{ // "key":"value" of JSON, however often it was quoted
		[]string{`":`, `\":`, `" :`, `\" :`, "':"},
		regexp.MustCompile(`(?i)(` + secretKey + `\\*["']\s*:\s*\\*["'])[^"'\\]+`), []byte("${1}" + masked),
	},
	{ // key: value of YAML and headers; not "secret: …" and "token: …", which are prose
		[]string{"pass", "pwd", "key:", "-token:", "_token:"},
		regexp.MustCompile(`(?i)((?:passw(?:or)?d|passphrase|pwd|(?:api|access|private)[-_]?key|[-_]token):\s*)[^\s"',;]+`), []byte("${1}" + masked),
	},
	{ // --password value
		[]string{"-pass", "-token", "-secret", "-key"},
		regexp.MustCompile(`(?i)(\s--?[\w-]*` + secretKey + `\s+)[^\s"'-][^\s"']*`), []byte("${1}" + masked),
	},
	{ // JSON web tokens
		[]string{"eyj"},
		regexp.MustCompile(`\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?`), []byte(masked),
	},
	{ // tokens that say by their beginning whose they are: AWS, GitHub, GitLab, Slack, Google, Vault
		[]string{"akia", "asia", "gh", "glpat-", "xox", "aiza", "hvs."},
		regexp.MustCompile(`\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}|hvs\.[\w-]{20,})`),
		[]byte(masked),
	},
	{ // kubeadm's bootstrap tokens
		[]string{"."},
		regexp.MustCompile(`\b([a-z0-9]{6})\.[a-z0-9]{16}\b`), []byte("${1}." + masked),
	},
	{
		[]string{"private key-----"},
		regexp.MustCompile(`(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?s:.)*`), []byte("${1}" + masked),
	},
}

// mask is line with its secrets replaced; line itself, if there are none.
func mask(line []byte) []byte {
	lowered := bytes.ToLower(line)
	for _, s := range secretShapes {
		for _, m := range s.marks {
			if bytes.Contains(lowered, []byte(m)) {
				line = s.pattern.ReplaceAll(line, s.shown)
				break
			}
		}
	}
	return line
}

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
