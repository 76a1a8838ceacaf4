package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/report"
)

// terminal says how out is to be written to: in colour and to its width if it
// is a terminal, unless NO_COLOR is set (no-color.org).
func terminal(out io.Writer) report.TextOptions {
	f, ok := out.(*os.File)
	if !ok {
		return report.TextOptions{}
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return report.TextOptions{}
	}
	return report.TextOptions{
		Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		Width:  int(size.Col),
	}
}
