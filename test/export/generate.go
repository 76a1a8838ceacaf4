package export

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

// Options say what records Generate makes.
type Options struct {
	Records int
	Seed    uint64
	Boots   int     // spread over so many boots; at least 1
	Long    float64 // the share of messages long enough to be compressed
	Huge    int     // so many messages of 100 KiB, more than is kept
	// Failures is the share of records that tell of a failure of the node; 0 leaves it at what
	// the programs' own words make, about 1.5 %.
	Failures float64
	// Progress, if not nil, is called now and then with the number of records made.
	Progress func(records int)
}

// progressEvery is how many records are made between two calls of Progress.
const progressEvery = 100_000

// Start is the time of the first record, in µs since 1970.
const Start = 1_790_000_000_000_000

// Generate writes what a Kubernetes node's journal looks like: half of it
// kubelet's, then containerd's, docker's, the kernel's and systemd's, each with
// some twenty fields; some messages long, some binary.
func Generate(out io.Writer, o Options) error {
	w := bufio.NewWriterSize(out, 1<<20)
	r := rand.New(rand.NewPCG(o.Seed, 1))
	now, mono := uint64(Start), uint64(3_600_000_000)
	boots := max(o.Boots, 1)
	for i := range o.Records {
		if o.Progress != nil && i > 0 && i%progressEvery == 0 {
			o.Progress(i)
		}
		boot := i * boots / max(o.Records, 1)
		if i > 0 && boot != (i-1)*boots/o.Records {
			mono = 1_000_000
			now += 60_000_000
		}
		step := r.Uint64N(100_000)
		now, mono = now+step, mono+step
		s, message := record(r, o.Failures)
		if r.Float64() < o.Long {
			message += " goroutine dump: " + strings.Repeat(fmt.Sprintf("goroutine %d [select]: syncLoop(%x) /go/src/kubelet.go:%d ; ", r.IntN(1000), r.Uint64(), r.IntN(3000)), 6+r.IntN(40))
		}
		if o.Huge > 0 && i%(o.Records/o.Huge) == o.Records/o.Huge/2 {
			message = strings.Repeat(message+" ", 100<<10/(len(message)+1))
		}
		_, _ = fmt.Fprintf(w, "__CURSOR=s=11112222333344445555666677778888;i=%x;b=%032x;m=%x;t=%x;x=%x\n", i+1, boot+1, mono, now, r.Uint64())
		_, _ = fmt.Fprintf(w, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%032x\n_MACHINE_ID=fedcba9876543210fedcba9876543210\n_HOSTNAME=node-1\n", now, mono, boot+1)
		_, _ = fmt.Fprintf(w, "PRIORITY=6\nSYSLOG_IDENTIFIER=%s\n_TRANSPORT=%s\n", s.identifier, s.transport)
		if s.about != "" {
			_, _ = fmt.Fprintf(w, "UNIT=%s\n", s.about)
		}
		if s.transport == "kernel" {
			_, _ = fmt.Fprintf(w, "SYSLOG_FACILITY=0\n_SOURCE_MONOTONIC_TIMESTAMP=%d\n", mono-5)
		} else {
			_, _ = fmt.Fprintf(w, "SYSLOG_FACILITY=3\n_STREAM_ID=aaaabbbbccccdddd%016x\n_PID=%d\n_UID=0\n_GID=0\n_COMM=%s\n_EXE=/usr/bin/%s\n_CMDLINE=/usr/bin/%s --config=/etc/%s.conf\n_CAP_EFFECTIVE=1ffffffffff\n_SYSTEMD_CGROUP=/system.slice/%s\n_SYSTEMD_UNIT=%s\n_SYSTEMD_SLICE=system.slice\n_SYSTEMD_INVOCATION_ID=cccc0000cccc0000cccc0000%08x\n",
				s.pid, s.pid, s.comm, s.comm, s.comm, s.comm, s.unit, s.unit, s.pid)
		}
		if i%997 == 7 {
			message += "\nsecond line\x01\xff"
		}
		if strings.Contains(message, "\n") {
			_, _ = fmt.Fprintf(w, "MESSAGE\n%s%s\n\n", binary.LittleEndian.AppendUint64(nil, uint64(len(message))), message)
		} else {
			_, _ = fmt.Fprintf(w, "MESSAGE=%s\n\n", message)
		}
	}
	return w.Flush()
}

// voice is one program that logs.
type voice struct {
	identifier, comm, unit, about, transport string
	pid                                      int
	say                                      func(*rand.Rand) string
}

// voices are the programs that also tell of failures.
func voices() (byKubelet, byContainerd, byKernel voice) {
	return voice{"kubelet", "kubelet", "kubelet.service", "", "stdout", 1234, kubelet},
		voice{"containerd", "containerd", "containerd.service", "", "stdout", 1100, containerd},
		voice{identifier: "kernel", transport: "kernel", say: kernel}
}

func speaker(r *rand.Rand) voice {
	byKubelet, byContainerd, byKernel := voices()
	x := r.Float64()
	switch {
	case x < 0.50:
		return byKubelet
	case x < 0.79:
		return byContainerd
	case x < 0.94:
		return voice{"dockerd", "dockerd", "docker.service", "", "stdout", 1200, docker}
	case x < 0.95:
		return voice{"systemd", "systemd", "init.scope", "kubelet.service", "journal", 1, func(*rand.Rand) string {
			return mainExited
		}}
	}
	return byKernel
}

// Message is what one record says; failures is as in Options.
func Message(r *rand.Rand, failures float64) string {
	_, m := record(r, failures)
	return m
}

// record is who says what, where a share of all tells of a failure.
func record(r *rand.Rand, failures float64) (voice, string) {
	if failures == 0 {
		s := speaker(r)
		return s, s.say(r)
	}
	if r.Float64() < failures {
		return failure(r)
	}
	for {
		s := speaker(r)
		if m := s.say(r); !tellsFailure(m) {
			return s, m
		}
	}
}

func hash(r *rand.Rand) string {
	return fmt.Sprintf("%016x%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
}

func klog(r *rand.Rand, severity byte, file, text string) string {
	return fmt.Sprintf("%c1122 %02d:%02d:%02d.%06d    1234 %s] %s", severity, r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1e6), file, text)
}

func kubelet(r *rand.Rand) string {
	pod := fmt.Sprintf("ns-%d/app-%d", r.IntN(20), r.IntN(200))
	switch n := r.IntN(600); {
	case n == 0:
		return pleg(r)
	case n == 1:
		return execSync(r)
	case n < 60:
		return klog(r, 'I', "prober.go:107", "\"Probe failed\" probeType=\"Readiness\" pod=\""+pod+"\" containerName=\"app\" probeResult=\"failure\" output=\"HTTP probe failed with statuscode: 503\"")
	case n < 200:
		return klog(r, 'I', "generic.go:334", "\"Generic (PLEG): container finished\" podID=\""+pod+"\" containerID=\""+hash(r)+"\" exitCode=0")
	}
	return klog(r, 'I', "reconciler_common.go:253", fmt.Sprintf("\"operationExecutor.VerifyControllerAttachedVolume started for volume \\\"kube-api-access-%05x\\\" (UniqueName: \\\"kubernetes.io/projected/%s\\\") pod \\\"%s\\\"\" pod=\"%s\"", r.IntN(1<<20), hash(r)[:36], pod, pod))
}

func containerd(r *rand.Rand) string {
	if r.IntN(200) == 0 {
		return stopSandbox(r)
	}
	return "time=\"2026-11-22T01:02:03Z\" level=info msg=\"StartContainer for \\\"" + hash(r) + "\\\" returns successfully\""
}

func docker(r *rand.Rand) string {
	return "time=\"2026-11-22T01:02:03Z\" level=info msg=\"ignoring event\" container=" + hash(r) + " module=libcontainerd namespace=moby topic=/tasks/delete type=\"*events.TaskDelete\""
}

func kernel(r *rand.Rand) string {
	switch r.IntN(60) {
	case 0:
		return conntrackFull
	case 1:
		return hungTask(r)
	case 2:
		return allocation(r)
	}
	return fmt.Sprintf("cbr0: port %d(veth%08x) entered forwarding state", r.IntN(100), r.Uint32())
}
