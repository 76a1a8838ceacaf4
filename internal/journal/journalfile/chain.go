package journalfile

import (
	"encoding/binary"
	"errors"
	"io"
)

// chain is a place in a list of records. A file keeps such a list of all its
// records, and one for each NAME=VALUE of those that have it: arrays of
// offsets, each about twice as long as the one before and linked to the next.
type chain struct {
	first  uint64 // a DATA object keeps its first record's offset itself
	array  uint64 // the current array
	length uint64 // how many slots it has; 0 if not looked at
	slot   uint64 // the next slot
	passed uint64 // how many records were passed, in all
	total  uint64 // how many the file says there are
}

// errWait: the file says that there is one more, but it is not written yet.
var errWait = errors.New("not written yet")

// all is the list of all records, from its beginning.
func (f *File) all() chain { return chain{array: f.header.entryArray, total: f.header.Entries} }

// width is the size of a slot.
func (f *File) width() uint64 {
	if f.header.Compact() {
		return 4
	}
	return 8
}

// next passes one slot, and returns the offset in it: io.EOF at the end,
// errWait where the slot is empty (and not passed), *damage where the chain is
// broken.
func (f *File) next(c *chain) (uint64, error) {
	if c.passed >= c.total && (c.first != 0 || f.live()) {
		return 0, io.EOF
	}
	if c.first != 0 && c.passed == 0 {
		c.passed++
		return c.first, nil
	}
	if err := f.settle(c); err != nil {
		return 0, err
	}
	off, err := f.slot(c, c.slot)
	switch {
	case err != nil:
		return 0, err
	case off == 0 && c.passed >= c.total:
		return 0, io.EOF // the rest of the array is for records to come
	case off == 0:
		return 0, errWait
	}
	c.slot++
	c.passed++
	return off, nil
}

// settle moves on to the next array if the current one is exhausted.
func (f *File) settle(c *chain) error {
	if c.length == 0 {
		if c.array == 0 {
			return f.endOf(c)
		}
		if err := f.enter(c, c.array); err != nil {
			return err
		}
	}
	for c.slot >= c.length {
		following, err := f.u64(c.array + objectHeader)
		if err != nil {
			return err
		}
		if following == 0 {
			return f.endOf(c)
		}
		// Objects do not overlap: with that, no chain can go in circles.
		if following < c.array+entryArrayHeader+c.length*f.width() {
			return &damage{c.array, "the list of records leads back"}
		}
		if err := f.enter(c, following); err != nil {
			return err
		}
	}
	return nil
}

// endOf tells an end from a list that is shorter than it should be.
func (f *File) endOf(c *chain) error {
	switch {
	case c.passed >= c.total:
		return io.EOF
	case f.live():
		return errWait
	}
	return &damage{c.array, "the list of records ends too early"}
}

func (f *File) enter(c *chain, array uint64) error {
	size, _, err := f.object(array, typeEntryArray, entryArrayHeader+f.width())
	if err != nil {
		return err
	}
	c.array, c.slot, c.length = array, 0, (size-entryArrayHeader)/f.width()
	return nil
}

func (f *File) slot(c *chain, i uint64) (uint64, error) {
	b, err := f.at(c.array+entryArrayHeader+i*f.width(), f.width())
	if err != nil {
		return 0, err
	}
	if len(b) == 4 {
		return uint64(binary.LittleEndian.Uint32(b)), nil
	}
	return binary.LittleEndian.Uint64(b), nil
}

// skip passes n slots without looking at the records.
func (f *File) skip(c *chain, n uint64) error {
	if c.first != 0 && c.passed == 0 && n > 0 {
		c.passed++
		n--
	}
	for n > 0 {
		if err := f.settle(c); err != nil {
			return err
		}
		step := min(n, c.length-c.slot)
		c.slot += step
		c.passed += step
		n -= step
	}
	return nil
}

// seek passes all records before the first that is not before some point: the
// arrays one by one, then a binary search. before must be true for the records
// of a beginning and false for the rest; a record that cannot be read counts as
// not before it, so that seek stops too early rather than too late. It returns
// the offset of the last record passed, 0 if there is none.
func (f *File) seek(c *chain, before func(*entry) bool) (last uint64, err error) {
	is := func(off uint64, err error) bool {
		if err != nil {
			return false
		}
		e, err := f.entry(off)
		if err != nil || !before(&e) {
			return false
		}
		last = off
		return true
	}
	if c.first != 0 && c.passed == 0 {
		if c.total == 0 || !is(c.first, nil) {
			return 0, nil
		}
		c.passed++
	}
	for c.passed < c.total {
		if err := f.settle(c); err != nil {
			return last, err
		}
		n := min(c.length-c.slot, c.total-c.passed)
		if is(f.slot(c, c.slot+n-1)) {
			c.slot += n
			c.passed += n
			continue
		}
		low, high := c.slot, c.slot+n-1 // the answer is in [low, high]
		for low < high {
			middle := low + (high-low)/2
			if is(f.slot(c, middle)) {
				low = middle + 1
			} else {
				high = middle
			}
		}
		c.passed += low - c.slot
		c.slot = low
		return last, nil
	}
	return last, nil
}
