package problem

// This file finds the kinds that a person may have meant by a misspelt name.

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

const (
	// maxSuggestions keeps a wrong name from printing half of the catalogue.
	maxSuggestions = 5
	// maxTypos is the edit distance up to which a name counts as misspelt.
	maxTypos = 3
	// maxName bounds the work on a name from outside; the longest kind has 27 letters.
	maxName = 64
)

// Suggest returns the kinds nearest to s, the best first and at most five:
// those that are s but for case and punctuation, that begin with it, that
// contain it, or that are at most three edits away; among equals, in the
// catalogue's order. An s that is like no kind gives none.
func (c *Catalogue) Suggest(s string) []Kind {
	want := letters(s)
	if want == "" || len(want) > maxName {
		return nil
	}
	type candidate struct {
		kind     Kind
		rank     int
		distance int
	}
	var found []candidate
	for _, d := range c.defs {
		name := letters(string(d.Kind))
		typos := editDistance(want, name)
		rank, distance := 0, 0
		switch {
		case name == want:
		case strings.HasPrefix(name, want):
			rank = 1
		case typos <= min(maxTypos, len(want)/2): // of a very short name, three would leave nothing
			rank, distance = 2, typos
		case strings.Contains(name, want):
			rank = 3
		default:
			continue
		}
		found = append(found, candidate{d.Kind, rank, distance})
	}
	slices.SortStableFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.distance, b.distance))
	})
	var kinds []Kind
	for _, f := range found[:min(len(found), maxSuggestions)] {
		kinds = append(kinds, f.kind)
	}
	return kinds
}

// letters is s in lower case without what is neither letter nor digit, so that
// pleg-unhealthy and PLEG_Unhealthy are the same name.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

// editDistance is the Levenshtein distance in bytes: how many insertions,
// deletions and substitutions turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
