package mounthelper

import (
	"bytes"
	"strconv"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

func FuzzParseRequest(f *testing.F) {
	f.Add(request{id: 7, major: 8, minor: 1, unkillable: true, path: "/mnt/a b"}.append(nil))
	f.Add([]byte("panic: runtime error"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		if r.path == "" || len(r.path) > maxPath {
			t.Errorf("a path of %d bytes", len(r.path))
		}
		if again, err := parseRequest(r.append(nil)); err != nil || again != r {
			t.Errorf("%+v comes back as %+v, %v", r, again, err)
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(answer{what: answered, id: 7, errno: 107}.append(nil))
	f.Add([]byte("fatal error"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := parseAnswer(b); err == nil && !bytes.Equal(a.append(nil), b) {
			t.Errorf("%v comes back as %+v", b, a)
		}
	})
}

func FuzzParseDevice(f *testing.F) {
	f.Add("0:60")
	f.Add("8:1:2")
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := parseDevice(s); ok {
			if again, ok := parseDevice(d.String()); !ok || again != d {
				t.Errorf("%q is %v, and then %v", s, d, again)
			}
		}
	})
}
