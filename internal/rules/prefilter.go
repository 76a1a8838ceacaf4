package rules

// This file: one look at a line that tells which rules it could matter to, by
// searching for all literals of all rules at once.
//
// Most lines matter to no rule, so the search is made for saying no. It looks
// at four bytes in every four: a literal of seven bytes or more that is in the
// line covers one of those places whole, with one of the four grams (runs of
// four bytes) that begin at its first four bytes. A bit map of 32 KiB, which stays in
// the processor's first cache, knows all such grams; only where it says yes is
// the literal compared. No step waits for the one before it, unlike an
// automaton, whose every byte waits for a load. Literals of four to six bytes
// are looked for at every byte, by a second search that is done only for lines
// of the sources whose rules have such literals.
//
// Which seven bytes of a longer literal are looked for is chosen so that they
// are rare in ordinary lines.

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
)

const (
	gramLen = 4
	// window is how much of a literal the wide search looks at.
	window = 2*gramLen - 1
	// bitmapBits is the size of the bit map: 2^18 bits are 32 KiB.
	bitmapBits = 18
	// bucketBits is the size of the table of what to compare.
	bucketBits = 10
	// fold maps ASCII letters to lower case in each byte of a gram, and some other
	// bytes to one another, which the comparison sorts out.
	fold = 0x20202020
)

// grams is a search for literals at every stride-th byte.
type grams struct {
	stride  int
	sources Source // of the rules that have a literal here
	bitmap  []uint64
	buckets [][]gram
}

// gram is a run of four bytes of a literal.
type gram struct {
	bytes   uint32
	offset  int // where in the literal it begins
	literal string
	rules   []int // which need the literal
}

func newGrams(stride int) *grams {
	return &grams{stride: stride, bitmap: make([]uint64, 1<<(bitmapBits-6)), buckets: make([][]gram, 1<<bucketBits)}
}

func hash(g uint32) uint32 { return g * 0x9E3779B1 >> (32 - bitmapBits) }

// add makes the search find literal, by the grams that begin at `from` and the
// next stride-1 bytes.
func (s *grams) add(literal string, from, rule int, sources Source) {
	s.sources |= sources
	for o := from; o < from+s.stride; o++ {
		b := binary.LittleEndian.Uint32([]byte(literal[o:o+gramLen])) | fold
		h := hash(b)
		s.bitmap[h>>6] |= 1 << (h & 63)
		bucket := &s.buckets[h&(1<<bucketBits-1)]
		found := false
		for i := range *bucket {
			if g := &(*bucket)[i]; g.bytes == b && g.offset == o && g.literal == literal {
				g.rules = append(g.rules, rule)
				found = true
			}
		}
		if !found {
			*bucket = append(*bucket, gram{b, o, literal, []int{rule}})
		}
	}
}

// scan adds the rules whose literals are in line to found.
func (s *grams) scan(line []byte, found []int) []int {
	bitmap := s.bitmap
	if len(bitmap) != 1<<(bitmapBits-6) { // tells the compiler that no index below can be out of range
		return found
	}
	for i := 0; i+gramLen <= len(line); i += s.stride {
		g := binary.LittleEndian.Uint32(line[i:]) | fold
		h := hash(g)
		if bitmap[(h>>6)&(1<<(bitmapBits-6)-1)]&(1<<(h&63)) != 0 {
			found = s.compare(line, i, g, h, found)
		}
	}
	return found
}

func (s *grams) compare(line []byte, at int, run, h uint32, found []int) []int {
	bucket := s.buckets[h&(1<<bucketBits-1)]
	for i := range bucket {
		g := &bucket[i]
		if g.bytes != run || at < g.offset || !hasPrefixFold(line[at-g.offset:], g.literal) {
			continue
		}
	rules:
		for _, r := range g.rules {
			for _, f := range found {
				if f == r {
					continue rules
				}
			}
			found = append(found, r)
		}
	}
	return found
}

// hasPrefixFold: literal is in lower case.
func hasPrefixFold(line []byte, literal string) bool {
	if len(line) < len(literal) {
		return false
	}
	for i := range len(literal) {
		c := line[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != literal[i] {
			return false
		}
	}
	return true
}

// prefilter finds the rules that a line may match.
type prefilter struct {
	wide   *grams // literals of seven bytes or more
	narrow *grams // shorter ones
	// fatal are the rules for klog's fatal lines, which begin with too short a
	// literal, but at a known place.
	fatal []int
	// always are the rules without a literal that is long enough.
	always []int
}

// add makes rule a candidate for the lines that hold one of literals; without
// literals for all lines, or klog's fatal ones.
func (p *prefilter) add(rule int, literals []string, fatal bool, sources Source, common rarity) {
	for _, l := range literals {
		if len(l) < gramLen {
			literals = nil
		}
	}
	switch {
	case len(literals) > 0:
	case fatal:
		p.fatal = append(p.fatal, rule)
	default:
		p.always = append(p.always, rule)
	}
	for _, l := range literals {
		if len(l) < window {
			p.narrow.add(l, common.rarest(l, gramLen), rule, sources)
		} else {
			p.wide.add(l, common.rarest(l, window), rule, sources)
		}
	}
}

// candidates adds to found, which has room for most cases, the rules that a
// line of sources may match.
func (p *prefilter) candidates(line []byte, sources Source, found []int) []int {
	found = p.wide.scan(line, found)
	if p.narrow.sources&sources != 0 {
		found = p.narrow.scan(line, found)
	}
	if len(p.fatal) > 0 && mayBeFatal(line) {
		found = append(found, p.fatal...)
	}
	return append(found, p.always...)
}

// isFatalOnly: the rule reads only klog's fatal lines.
func isFatalOnly(r Rule) bool {
	return strings.HasPrefix(r.Pattern, klogFatal) && !strings.Contains(r.Pattern, "|") && r.From.Extract == ""
}

// maxPrefix is how much may stand before klog's header, in bytes: what syslog or a
// container runtime writes there.
const maxPrefix = 200

// mayBeFatal looks for "F1122 " at the beginning of a word.
func mayBeFatal(line []byte) bool {
	const header = len("F1122 ")
	for at := 0; at+header <= min(len(line), maxPrefix+header); at++ {
		i := bytes.IndexByte(line[at:min(len(line), maxPrefix)], 'F')
		if i < 0 {
			return false
		}
		at += i
		if at+header <= len(line) && (at == 0 || line[at-1] == ' ') && isDigits(line[at+1:at+5]) && line[at+5] == ' ' {
			return true
		}
	}
	return false
}

// rarity tells how common grams are in ordinary lines.
type rarity map[uint32]int

func newRarity(lines []string) rarity {
	r := rarity{}
	for _, l := range lines {
		for i := 0; i+gramLen <= len(l); i++ {
			r[binary.LittleEndian.Uint32([]byte(l[i:i+gramLen]))|fold]++
		}
	}
	return r
}

// count is how often the grams of the n bytes of l from `at` on occur in ordinary lines.
func (r rarity) count(l string, at, n int) int {
	sum := 0
	for i := at; i+gramLen <= at+n; i++ {
		sum += r[binary.LittleEndian.Uint32([]byte(l[i:i+gramLen]))|fold]
	}
	return sum
}

// rarest is where in l the n bytes begin that are rarest in ordinary lines.
func (r rarity) rarest(l string, n int) int {
	best, lowest := 0, math.MaxInt
	for at := 0; at+n <= len(l); at++ {
		if c := r.count(l, at, n); c < lowest {
			best, lowest = at, c
		}
	}
	return best
}

// cost is how much work it makes to look for a set of literals: each false
// alarm of an ordinary line, then the number of literals; short ones need the
// second search, and too short ones cannot be looked for at all.
func (r rarity) cost(set []string) float64 {
	cost := 0.0
	for _, l := range set {
		switch {
		case len(l) < gramLen:
			cost += 1e6
		case len(l) < window:
			cost += 1e3 + float64(r.count(l, r.rarest(l, gramLen), gramLen))
		default:
			cost += 1 + 10*float64(r.count(l, r.rarest(l, window), window))
		}
	}
	return cost
}
