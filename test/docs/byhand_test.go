package docs

import (
	"bytes"
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// tools are the programs that the catalogue's commands may use, with the Debian
// package that has them; none for those that every node has (essential packages,
// or what comes with Kubernetes or systemd).
func tools() map[string]string {
	known := map[string]string{
		"iostat": "sysstat", "conntrack": "conntrack", "ipvsadm": "ipvsadm", "smartctl": "smartmontools", "ipmitool": "ipmitool", "nft": "nftables",
		"iptables": "iptables", "iptables-save": "iptables", "chronyc": "chrony", "curl": "curl", "nc": "netcat-openbsd", "openssl": "openssl",
		"adjtimex": "adjtimex", "docker": "docker.io", "xfs_repair": "xfsprogs", "ss": "iproute2", "ip": "iproute2", "sysctl": "procps", "ps": "procps",
		"slabtop": "procps", "vmstat": "procps", "pgrep": "procps", "pidof": "sysvinit-utils", "journalctl": "systemd", "systemctl": "systemd",
		"timedatectl": "systemd", "systemd-cgtop": "systemd", "crictl": "cri-tools",
	}
	for t := range strings.FieldsSeq("grep cat ls sort uniq head tail wc cut awk find df du dmesg readlink stat date uname timeout time echo command getent lsns lsblk last xargs findmnt mount test ulimit read true") {
		known[t] = ""
	}
	return known
}

// byHand are the commands of the catalogue, as a person would paste them.
func byHand() map[string][]string {
	all := map[string][]string{}
	for _, d := range problem.Builtin().All() {
		for _, c := range append([]string{d.Next}, d.Evidence...) {
			all[c] = append(all[c], string(d.Kind))
		}
	}
	return all
}

// TestCommandsByHand: what `agent explain` and the pages in docs/kinds tell a
// person to run is a command, uses only what a Debian node has or can install, and
// changes nothing.
func TestCommandsByHand(t *testing.T) {
	known := tools()
	changes := regexp.MustCompile(`\b(rm|kill|umount|mkdir|tee|modprobe|fsck)\b|systemctl (start|stop|restart|enable|disable|reset)|sysctl -w|[^2&]>[^&]|crictl rm|iptables -[AIDF]`)
	for command, kinds := range byHand() {
		if out, err := exec.Command("bash", "-n", "-c", command).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v: bash does not understand %q: %s", kinds, command, out)
		}
		bare := unquoted(command)
		if m := changes.FindString(bare); m != "" {
			t.Errorf("%v: %q may change something: %q", kinds, command, m)
		}
		for _, program := range programs(bare) {
			if _, ok := known[program]; !ok {
				t.Errorf("%v: %q uses %q, of which nobody has said where it comes from", kinds, command, program)
			}
		}
	}
}

// unquoted is a command without what stands in quotes, and without its comment.
func unquoted(command string) string {
	bare := regexp.MustCompile(`'[^']*'|"[^"]*"`).ReplaceAllString(command, "Q")
	return regexp.MustCompile(`(^|\s)#.*`).ReplaceAllString(bare, "")
}

// programs are the first words of a command's parts.
func programs(bare string) (names []string) {
	for _, part := range regexp.MustCompile("\\|\\||&&|[|;()`{]|\\bdo\\b|\\bthen\\b|\\belse\\b").Split(bare, -1) {
		words := strings.Fields(part)
		// What stands before a program's name.
		for len(words) > 0 && (regexp.MustCompile(`^\w+=`).MatchString(words[0]) || words[0] == "!" || words[0] == "time" || words[0] == "while" || words[0] == "if") {
			words = words[1:]
		}
		if len(words) == 0 || words[0] == "for" || words[0] == "done" || words[0] == "fi" || !regexp.MustCompile(`^[a-z][a-z0-9_-]*$`).MatchString(words[0]) {
			continue
		}
		names = append(names, words[0])
		for i, w := range words[1:] { // xargs and timeout run another
			if (words[0] == "xargs" || words[0] == "timeout") && regexp.MustCompile(`^[a-z]`).MatchString(w) {
				names = append(names, words[i+1])
				break
			}
		}
	}
	return names
}

func TestPrograms(t *testing.T) {
	for command, want := range map[string]string{
		"a -x | b; c || d && e":                         "a b c d e",
		"for p in x y; do ls $p | wc -l; done":          "ls wc",
		"cat /proc/$(pidof -s kubelet)/limits  # 'a b'": "cat pidof",
		"timeout 5 stat -f X | xargs -n1 readlink":      "timeout stat xargs readlink",
		`grep -E 'a|b; rm' "$(x)"`:                      "grep",
		"time crictl ps":                                "crictl",
	} {
		if got := strings.Join(programs(unquoted(command)), " "); got != want {
			t.Errorf("%q: %q, want %q", command, got, want)
		}
	}
}

// TestCommandsByHandRun: those that can run here do not complain of how they were
// called. What they find is this machine's affair.
func TestCommandsByHandRun(t *testing.T) {
	placeholder := regexp.MustCompile(`\b[A-Z]{3,}\b|\{subject\}`)
	misused := regexp.MustCompile(`(?i)(un(recognized|known)|invalid|illegal|bad) (option|argument|predicate|regular|flag)|unknown (primary|command|shorthand)|^usage:|try '.* --help'|syntax error`)
	ran := 0
	for command, kinds := range byHand() {
		bare := unquoted(command)
		if placeholder.MatchString(strings.ReplaceAll(command, "NTP", "")) || strings.Contains(command, "cgtop") {
			continue // it is to be filled in, or fills the screen
		}
		here := true
		for _, p := range programs(bare) {
			if exec.Command("bash", "-c", "command -v "+p).Run() != nil {
				here = false
			}
		}
		if !here {
			continue
		}
		ran++
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		cmd := exec.CommandContext(ctx, "bash", "-c", command)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		cmd.WaitDelay = time.Second
		_ = cmd.Run() // grep that finds nothing fails
		cancel()
		if m := misused.FindString(stderr.String()); m != "" {
			t.Errorf("%v: %q is not how it is called: %.300s", kinds, command, stderr.String())
		}
	}
	t.Logf("%d of %d commands were run", ran, len(byHand()))
	if ran < 50 {
		t.Errorf("only %d commands could be run", ran)
	}
}
