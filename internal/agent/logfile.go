package agent

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/nodevitals/nodevitals/internal/host"
)

// This file: which links a log file may be. The agent reads as root, and shows
// lines of what it reads. A pod that may write into the node's /var/log (a volume
// of kind hostPath, as log shippers have) could put a link to a file there that it
// may not read itself, and so have it read by us.

// logFolder is where log files are.
const logFolder = "/var/log"

// dockerLog is where Docker keeps the log of a container, wherever its own folder
// is; kubelet's folder then has links to it.
var dockerLog = regexp.MustCompile(`/containers/([0-9a-f]{64})/([0-9a-f]{64})-json\.log$`)

// logFile is where the host's log file at p really is. A link is followed within
// /var/log, or if the file is named elsewhere, within its own folder, and to
// Docker's logs; any other is refused.
func logFile(h *host.Host, p string) (string, error) {
	real := h.RealPath(p)
	if real == path.Clean(p) {
		return real, nil
	}
	fence := path.Dir(p)
	if strings.HasPrefix(p, logFolder+"/") {
		fence = logFolder
	}
	// The folder itself may be a link, to a disk of its own.
	if strings.HasPrefix(real, strings.TrimSuffix(h.RealPath(fence), "/")+"/") {
		return real, nil
	}
	if m := dockerLog.FindStringSubmatch(real); m != nil && m[1] == m[2] {
		return real, nil
	}
	return "", fmt.Errorf("%s is a link to %s, out of %s, and is not followed; name that file in the configuration if it is the log", p, real, fence)
}

// relink notices that the link that a log file is leads elsewhere now.
func (s *textSource) relink(h *host.Host) error {
	real, err := logFile(h, s.path)
	if err != nil {
		return err
	}
	s.log.Move(h.Path(real))
	return nil
}
