package diagnosis

// This file: sets of problems, by their indices.

// set has a bit for each problem.
type set []uint64

func newSet(n int) set { return make(set, (n+63)/64) }

func (s set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s set) add(i int) { s[i/64] |= 1 << (i % 64) }

func (s set) addAll(o set) {
	for i := range s {
		s[i] |= o[i]
	}
}
