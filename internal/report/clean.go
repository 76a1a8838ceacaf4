package report

import "github.com/nodevitals/nodevitals/internal/problem"

// maxShown bounds any single text from outside, in runes.
const maxShown = 400

// clean makes text from outside safe to show.
func clean(s string) string { return problem.Clean(s, maxShown) }
