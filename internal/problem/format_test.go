package problem

import "testing"

func TestAmount(t *testing.T) {
	for _, c := range []struct {
		v    float64
		u    Unit
		want string
	}{
		{64, Threads, "64 threads"},
		{0, Threads, "0 threads"},
		{1, Threads, "1 thread"},
		{1, Files, "1 file"},
		{1, Processes, "1 process"},
		{1, Watches, "1 watch"},
		{1, Addresses, "1 address"},
		{1, Inodes, "1 inode"},
		{1, Pages, "1 page"},
		{1, Instances, "1 instance"},
		{1, Connections, "1 entry"},
		{2, Connections, "2 entries"},
		{1, Seconds, "1 s"},
		{1.5 * (1 << 30), Bytes, "1.50 GiB"},
		{0.5, Ratio, "50 %"},
	} {
		if got := Amount(c.v, c.u); got != c.want {
			t.Errorf("Amount(%v, %v) = %q, want %q", c.v, c.u, got, c.want)
		}
	}
}
