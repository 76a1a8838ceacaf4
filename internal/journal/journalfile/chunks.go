package journalfile

// chunks holds the parts of files that were read last. It is shared by all
// files of a reader, so that its memory does not grow with their number.

const (
	chunkSize = 64 << 10
	// chunkCount: a scan wants the part with the records, the part with the list
	// of records, and now and then an old part with a repeated field.
	chunkCount = 24
	// chunksKept stay when what was in them is forgotten: to follow a few files that
	// are written to takes no more.
	chunksKept = 8
)

type chunks struct {
	tags [chunkCount]uint64 // whose and which; 0 is none
	used [chunkCount]bool   // since the hand last passed
	bufs [chunkCount][]byte
	hand int
	last int // where the last hit was
}

// chunkTag identifies chunk number of a file. The file's number is never 0.
func chunkTag(file uint32, number uint64) uint64 { return uint64(file)<<40 | number&(1<<40-1) }

// get returns the chunk, or nil.
func (c *chunks) get(tag uint64) []byte {
	if c.tags[c.last] == tag {
		c.used[c.last] = true
		return c.bufs[c.last]
	}
	for i := range c.tags {
		if c.tags[i] == tag {
			c.last = i
			c.used[i] = true
			return c.bufs[i]
		}
	}
	return nil
}

// load reads a chunk from src in place of one that was not used lately.
func (c *chunks) load(tag uint64, src source, off int64) ([]byte, error) {
	i := c.place()
	if c.bufs[i] == nil {
		c.bufs[i] = make([]byte, chunkSize)
	}
	c.tags[i] = 0
	n, err := src.readAt(c.bufs[i][:chunkSize], off)
	if err != nil {
		return nil, err
	}
	c.bufs[i] = c.bufs[i][:n]
	c.tags[i], c.used[i], c.last = tag, true, i
	return c.bufs[i], nil
}

// place is where the next chunk goes.
func (c *chunks) place() int {
	for i, t := range c.tags {
		if t == 0 {
			return i
		}
	}
	// Second chance: what was used since the hand last came by stays.
	for c.used[c.hand] {
		c.used[c.hand] = false
		c.hand = (c.hand + 1) % chunkCount
	}
	i := c.hand
	c.hand = (c.hand + 1) % chunkCount
	return i
}

// forget drops all chunks of a file: it has been written to.
func (c *chunks) forget(file uint32) {
	for i, t := range c.tags {
		if uint32(t>>40) != file {
			continue
		}
		c.tags[i], c.used[i] = 0, false
		if i >= chunksKept {
			c.bufs[i] = nil
		}
	}
}
