package systemd

// This file: a connection to systemd that cannot hang, cannot fill the memory,
// and cannot bring the agent down, whoever sits at the socket.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/nodevitals/nodevitals/internal/host"
)

const (
	// booted exists where systemd is the host's init (sd_booted(3)).
	booted = "/run/systemd/system"
	// private is systemd's own socket: root's only, and it answers also when the bus
	// is dead. bus is for everybody.
	private = "/run/systemd/private"
	bus     = "/run/dbus/system_bus_socket"

	// answerWithin bounds a whole look, which takes some milliseconds: a systemd that
	// is this slow does not restart anything either.
	answerWithin = 4 * time.Second
	// maxAnswer is the most that is read from one connection, in bytes. A unit's
	// answers are below 2 KiB.
	maxAnswer = 1 << 20
)

// connect connects to the host's systemd; the connection ends with ctx at the latest.
func connect(ctx context.Context, h *host.Host) (*dbus.Conn, error) {
	if _, err := os.Stat(h.Path(booted)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no %s", ErrAbsent, booted)
	} else if err != nil {
		return nil, err
	}
	c, err := dial(ctx, h, private, false)
	if err != nil {
		var second error
		if c, second = dial(ctx, h, bus, true); second != nil {
			return nil, fmt.Errorf("systemd cannot be asked: %w; %w", err, second)
		}
	}
	return c, nil
}

// dial connects through one socket; to a bus one has to say hello.
func dial(ctx context.Context, h *host.Host, socket string, hello bool) (*dbus.Conn, error) {
	c, err := dbus.NewConnection(func() (*godbus.Conn, error) {
		raw, err := (&net.Dialer{}).DialContext(ctx, "unix", h.Path(socket))
		if err != nil {
			return nil, err
		}
		// The library's own handshake knows no context.
		deadline, _ := ctx.Deadline()
		if err := raw.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		in := bufio.NewReader(io.LimitReader(raw, maxAnswer)) // the library reads some bytes at a time
		conn, err := godbus.NewConn(bounded{raw, in},
			godbus.WithContext(ctx), godbus.WithIncomingInterceptor(onlyAnswers), godbus.WithSignalHandler(deaf{}))
		if err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		err = conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
		if err == nil && hello {
			err = conn.Hello()
		}
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return conn, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	return c, nil
}

// bounded is a connection from which only so much is read.
type bounded struct {
	net.Conn
	in io.Reader
}

func (b bounded) Read(p []byte) (int, error) { return b.in.Read(p) }

// onlyAnswers drops what we have not asked for. The libraries trust in the form of
// signals and would panic, in goroutines of their own, at those that are malformed.
func onlyAnswers(m *godbus.Message) {
	if m.Type != godbus.TypeMethodReply && m.Type != godbus.TypeError {
		m.Type = 0 // of no known type: ignored
	}
}

// deaf takes no signals. Whoever wants to hear some learns at once that none will
// come: go-systemd's listener would else wait for ever on a connection that ended
// while it was set up.
type deaf struct{}

func (deaf) DeliverSignal(string, string, *godbus.Signal) {}
func (deaf) AddSignal(ch chan<- *godbus.Signal)           { close(ch) }
func (deaf) RemoveSignal(chan<- *godbus.Signal)           {}
