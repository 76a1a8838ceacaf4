package problem

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text from outside (log lines, process names) safe to show: no
// control characters, so no terminal escapes and no forged lines; valid UTF-8;
// at most most runes, or that many and an ellipsis.
func Clean(s string, most int) string {
	plain := true
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			plain = false
			break
		}
	}
	if plain && len(s) <= most {
		return s
	}
	var b strings.Builder
	left := most
	for i, r := range s {
		piece := string(r)
		switch {
		case r == utf8.RuneError:
			piece = fmt.Sprintf(`\x%02x`, s[i])
		case r == '\t':
			piece = " "
		case !unicode.IsPrint(r):
			piece = fmt.Sprintf(`\u%04x`, r)
		}
		if left -= utf8.RuneCountInString(piece); left < 0 {
			b.WriteString("…")
			break
		}
		b.WriteString(piece)
	}
	return b.String()
}
