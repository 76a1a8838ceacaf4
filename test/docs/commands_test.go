// Package docs does what the documentation tells a person to do: the README's
// commands on a clean checkout, and the commands by which a failure is looked at
// by hand.
package docs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodevitals/nodevitals/test/build"
	"github.com/nodevitals/nodevitals/test/checkout"
)

const top = "../.."

// pages are those with commands that a person would paste.
func pages() []string { return []string{"README.md", "docs/operations.md", "docs/contributing.md"} }

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pasted are the lines of a page's blocks of shell commands.
func pasted(page string) (commands []string) {
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(block[1]) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				commands = append(commands, line)
			}
		}
	}
	return commands
}

// untried are the commands that are not run here, and why.
func untried() map[string]string {
	return map[string]string{
		"make test":                  "it is what runs this test",
		"kubectl describe node NODE": "needs a cluster; make e2e looks at the same",
	}
}

// TestPastedCommands: each command of the documentation does what it should, as it
// stands, on a clean checkout.
func TestPastedCommands(t *testing.T) {
	dir := checkout.Copy(t, top)
	// What the README's reader has at hand.
	if err := os.WriteFile(filepath.Join(dir, "some.log"), []byte("kernel: Out of memory: Killed process 1 (x)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	helm, _ := filepath.Abs(filepath.Join(top, ".cache/bin/helm"))
	tried := 0
	for _, page := range pages() {
		for _, command := range pasted(read(t, page)) {
			t.Run(command, func(t *testing.T) {
				for prefix, why := range untried() {
					if strings.HasPrefix(command, prefix) {
						t.Skip("not run: " + why)
					}
				}
				tried++
				switch {
				case strings.HasPrefix(command, "helm install "):
					// The same chart, name and values, without a cluster.
					if _, err := os.Stat(helm); err != nil {
						t.Skip("SKIPPED: make chart builds helm: " + err.Error())
					}
					if out := paste(t, dir, helm+" template "+strings.TrimPrefix(command, "helm install ")); !strings.Contains(out, "kind: DaemonSet") {
						t.Errorf("it makes no DaemonSet:\n%.500s", out)
					}
				case strings.Contains(command, "--listen"):
					serve(t, dir, command)
				case strings.HasPrefix(command, "make run"), strings.HasPrefix(command, "bin/agent"):
					if out := paste(t, dir, command); out == "" && !strings.Contains(command, " journal ") {
						t.Error("it says nothing")
					}
				default:
					t.Error("nobody has said how to try this command, or why not")
				}
			})
		}
	}
	if tried < 8 {
		t.Errorf("only %d commands were tried", tried)
	}
}

// paste runs a command as a person does. A verdict on this machine (1 to 3) is no
// failure of --once.
func paste(t *testing.T, dir, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Dir, cmd.Env = dir, checkout.Environ()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && strings.Contains(command, "--once") && exit.ExitCode() >= 1 && exit.ExitCode() <= 3 {
		err = nil
	}
	if errors.As(err, &exit) && strings.Contains(command, " journal ") && strings.Contains(stderr.String(), "no journal") {
		t.Skip("SKIPPED: this machine has no journal")
	}
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, stderr.String())
	}
	return string(out)
}

// serve starts a daemon, waits until it answers, and ends it.
func serve(t *testing.T, dir, command string) {
	t.Helper()
	address := regexp.MustCompile(`--listen (\S+)`).FindStringSubmatch(command)[1]
	command = strings.Replace(command, address, "127.0.0.1:0", 1) // the port may be taken here
	var log bytes.Buffer
	cmd := exec.Command("bash", "-c", "exec "+command+" --state-file ''")
	cmd.Dir = dir
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving := regexp.MustCompile(`msg="nodevitals is running".* address=127\.0\.0\.1:\d+`)
	watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	for b := make([]byte, 4096); !serving.Match(log.Bytes()); {
		n, err := said.Read(b)
		log.Write(b[:n])
		if err != nil {
			_ = cmd.Wait()
			t.Fatalf("it ended by itself, or does not serve: %v\n%s", err, log.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// TestNamedCommands: each `agent …` that the documentation names is one that the
// program takes, and each `--set` one that the chart takes.
func TestNamedCommands(t *testing.T) {
	agent := build.Agent(t)
	var all, sets []string
	names := append(pages(), "docs/design.md", "docs/security.md", "docs/reliability.md", "docs/configuration.md", "CHANGELOG.md")
	for _, page := range names {
		text := read(t, page)
		for _, m := range regexp.MustCompile("`(?:bin/)?agent ([^`|<>;]+)[`|<>;]").FindAllStringSubmatch(strings.ReplaceAll(text, "\n", " "), -1) {
			all = append(all, m[1])
		}
		sets = append(sets, regexp.MustCompile(`--set(?:-file|-string)? [^ )`+"`"+`]+`).FindAllString(text, -1)...)
	}
	if len(all) < 10 || len(sets) < 2 {
		t.Fatalf("only %d commands and %d settings were found", len(all), len(sets))
	}
	slices.Sort(all)
	for _, args := range slices.Compact(all) {
		// Flags that are not known come before the help.
		if out, err := exec.Command(agent, append(strings.Fields(args), "--help")...).CombinedOutput(); err != nil {
			t.Errorf("agent %s: %v\n%.300s", args, err, out)
		}
	}
	helm, _ := filepath.Abs(filepath.Join(top, ".cache/bin/helm"))
	if _, err := os.Stat(helm); err != nil {
		t.Skip("SKIPPED: make chart builds helm: " + err.Error())
	}
	slices.Sort(sets)
	for _, set := range slices.Compact(sets) {
		if !strings.Contains(set, "=") || strings.Contains(set, "--set-file") {
			continue
		}
		args := append([]string{"template", "nodevitals", top + "/deploy/chart/nodevitals"}, strings.Fields(set)...)
		if out, err := exec.Command(helm, args...).CombinedOutput(); err != nil {
			t.Errorf("helm %s: %v\n%.500s", set, err, out)
		}
	}
}
