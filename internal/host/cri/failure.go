package cri

// This file: the ways in which a runtime does not answer, which mean different
// things and have different remedies.

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Failure is a way not to answer.
type Failure uint8

// The failures, from "nobody is there" to "it does not want to".
const (
	Absent      Failure = iota + 1 // there is no socket
	Refused                        // nobody listens on the socket
	Denied                         // we may not connect
	Silent                         // no answer in time, or no room to wait for one
	Foreign                        // what answers does not speak the protocol
	Unsupported                    // it has no such call
	Broken                         // it hung up, or answered with an error
)

// Error is a call that failed.
type Error struct {
	Failure Failure
	Call    string // empty where there was not even a connection
	Err     error
}

func (e *Error) Error() string {
	if e.Call == "" {
		return e.Err.Error()
	}
	return e.Call + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// FailureOf is how err came about; 0 for nil, Broken for what is not of this package.
func FailureOf(err error) Failure {
	var e *Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Failure
	}
	return Broken
}

// failed says how a call ended that did not succeed.
func (c *Client) failed(ctx context.Context, call string, err error) error {
	c.mu.Lock()
	dial := c.dial
	c.mu.Unlock()
	if dial != nil && ctx.Err() == nil {
		return &Error{Failure: dialFailure(dial), Err: dial}
	}
	failure, message := callFailure(err), bounded(status.Convert(err).Message())
	switch {
	case failure == Silent && strings.Contains(message, "waiting for connections"):
		message = "no answer in time, nor a first word on the connection"
	case failure == Silent:
		message = "no answer in time"
	}
	return &Error{Failure: failure, Call: call, Err: errors.New(message)}
}

// dialFailure judges connect(2) on a unix socket.
func dialFailure(err error) Failure {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return Absent
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOTSOCK):
		return Refused
	case errors.Is(err, fs.ErrPermission):
		return Denied
	case errors.Is(err, unix.EAGAIN), errors.Is(err, context.DeadlineExceeded):
		return Silent // its queue of connections is full: nobody accepts
	}
	return Broken
}

// callFailure judges what grpc says of a call over a connection that was made.
func callFailure(err error) Failure {
	s := status.Convert(err)
	switch s.Code() {
	case codes.DeadlineExceeded, codes.Canceled:
		return Silent
	case codes.Unimplemented:
		// An HTTP/2 server that is no grpc server has this code for its 404, too.
		if !strings.Contains(s.Message(), "unknown service") && !strings.Contains(s.Message(), "unknown method") &&
			strings.Contains(s.Message(), "HTTP status code") {
			return Foreign
		}
		return Unsupported
	case codes.Unavailable:
		for _, words := range []string{"EOF", "broken pipe", "connection reset"} {
			if strings.Contains(s.Message(), words) {
				return Broken // it hung up
			}
		}
		// Before the first frame, or in the middle of one; grpc has words only.
		for _, words := range []string{"error reading server preface", "frame too large", "connection closed before server preface", "http2:"} {
			if strings.Contains(s.Message(), words) {
				return Foreign
			}
		}
	case codes.Internal, codes.Unknown:
		if strings.Contains(s.Message(), "HTTP status code") || strings.Contains(s.Message(), "content-type") ||
			strings.Contains(s.Message(), "failed to unmarshal") {
			return Foreign
		}
	}
	return Broken
}
