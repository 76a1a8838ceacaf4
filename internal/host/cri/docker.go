package cri

// This file: Docker's own API (Engine API, v1.24 and later), for the nodes whose
// kubelet still talks to Docker.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Docker asks Docker's daemon behind one socket. It keeps no connection.
type Docker struct{ client http.Client }

// NewDocker is a client of the socket at path, which is ours, not the host's.
func NewDocker(path string) *Docker {
	var d net.Dialer
	return &Docker{http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return d.DialContext(ctx, "unix", path)
			},
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaders, ReadBufferSize: buffers, WriteBufferSize: buffers,
		},
		// It has none; a redirect would be somebody else's idea.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Ping asks for a sign of life.
func (d *Docker) Ping(ctx context.Context) error {
	_, err := d.get(ctx, "/_ping")
	return err
}

// Info asks who it is and how it is set up. It counts all containers for that, so
// that it hangs where one of them is locked up and a ping still gets through.
func (d *Docker) Info(ctx context.Context) (Version, Setup, error) {
	body, err := d.get(ctx, "/info")
	if err != nil {
		return Version{}, Setup{}, err
	}
	var info struct{ ServerVersion, CgroupDriver, DockerRootDir string }
	if err := json.Unmarshal(body, &info); err != nil {
		return Version{}, Setup{}, &Error{Failure: Foreign, Call: "/info", Err: err}
	}
	return Version{Runtime: "docker", Version: bounded(info.ServerVersion)},
		Setup{CgroupDriver: bounded(info.CgroupDriver), Root: bounded(info.DockerRootDir)}, nil
}

func (d *Docker) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, dockerFailed(path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, dockerFailed(path, err)
	case len(body) > maxAnswer:
		return nil, &Error{Failure: Foreign, Call: path, Err: fmt.Errorf("an answer of more than %d MiB", maxAnswer>>20)}
	case resp.StatusCode != http.StatusOK:
		return nil, &Error{Failure: Broken, Call: path, Err: errors.New(bounded(resp.Status))}
	}
	return body, nil
}

func dockerFailed(path string, err error) error {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		return &Error{Failure: dialFailure(op), Err: op}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Failure: Silent, Call: path, Err: errors.New("no answer in time")}
	// The last is net/http's word, which has no name, for an end that comes before our call.
	case errors.As(err, &op), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "server closed idle connection"):
		return &Error{Failure: Broken, Call: path, Err: errors.New("the connection was closed without an answer")}
	}
	return &Error{Failure: Foreign, Call: path, Err: errors.New(bounded(err.Error()))}
}
