package agent

import (
	"slices"
	"testing"
)

func TestTextSegments(t *testing.T) {
	const maps = `00400000-011b4000 r-xp 00000000 fe:00 5377 /agent
011b4000-01a20000 r--p 00db4000 fe:00 5377 /agent
01a20000-01b1d000 rw-p 01620000 fe:00 5377 /agent
01b1d000-01b7e000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r-xp 00000000 fe:00 9 /agent of another
7f0000001000-7f0000002000 r--s 00000000 fe:00 5377 /agent
7ffc0000-7ffd0000 r-xp 00000000 00:00 0 [vdso]
`
	got := textSegments(maps, "/agent")
	want := []segment{{0x400000, 0x11b4000}, {0x11b4000, 0x1a20000}}
	if !slices.Equal(got, want) {
		t.Errorf("got %x, want %x: what is written must not be dropped", got, want)
	}
}

func TestUnmapTextLeavesTheProgramRunning(t *testing.T) {
	UnmapText()
	if got := textSegments("x", "x"); got != nil {
		t.Error(got)
	}
}
