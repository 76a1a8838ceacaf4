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
		{0.02134, Seconds, "0.0213 s"},
		{119.6, Seconds, "120 s"},
		{150, Seconds, "2 min"},
		{2.5 * 3600, Seconds, "2 h"},
		{3 * 86400.5, Seconds, "3 days"},
		{1234.5, Threads, "1234 threads"},
		{1.5 * (1 << 30), Bytes, "1.50 GiB"},
		{512, Bytes, "512 B"},
		{5 << 60, Bytes, "5.00 EiB"},
		{0.5, Ratio, "50 %"},
	} {
		if got := Amount(c.v, c.u); got != c.want {
			t.Errorf("Amount(%v, %v) = %q, want %q", c.v, c.u, got, c.want)
		}
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		m    Measurement
		want string
	}{
		{Measurement{Used: 6882, Max: 32768, Unit: Threads}, "21 % (6882 of 32768 threads)"},
		{Measurement{Used: 0, Max: 32768, Unit: Threads}, "0 % (0 of 32768 threads)"},
		{Measurement{Used: 6, Max: 32768, Unit: Threads}, "<0.1 % (6 of 32768 threads)"},
		{Measurement{Used: 1, Max: 1000, Unit: Threads}, "0.1 % (1 of 1000 threads)"},
		{Measurement{Used: 10, Max: 1000, Unit: Threads}, "1 % (10 of 1000 threads)"},
		{Measurement{Used: 999, Max: 1000, Unit: Threads}, "99 % (999 of 1000 threads)"},
		{Measurement{Used: 500 << 10, Max: 100 << 20, Unit: Bytes}, "0.5 % (500 KiB of 100 MiB)"},
		{Measurement{Used: 1 << 10, Max: 10 << 20, Unit: Bytes}, "<0.1 % (1.00 KiB of 10.0 MiB)"},
		{Measurement{Used: 0.0213, Max: 10, Unit: Seconds}, "0.2 % (0.0213 of 10 s)"},
		{Measurement{Used: 567890.123, Max: 31535999, Unit: Seconds}, "2 % (6 days of 364 days)"}, // a certificate's life
		{Measurement{Used: 3, Unit: Files}, "3 files"},
	} {
		if got := Share(c.m); got != c.want {
			t.Errorf("Share(%+v) = %q, want %q", c.m, got, c.want)
		}
	}
}
