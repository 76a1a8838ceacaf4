package kube

// This file: what can come of a request, in the words of the metrics and for people.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/nodevitals/nodevitals/internal/problem"
)

// result is how a request ended; a metric's label.
type result string

const (
	success      result = "success"
	unreachable  result = "unreachable" // no connection, or broken off
	timedOut     result = "timeout"
	untrusted    result = "untrusted"    // its certificate, or ours
	credentials  result = "credentials"  // the files that hold ours cannot be read
	unauthorized result = "unauthorized" // 401
	forbidden    result = "forbidden"    // 403
	notFound     result = "not_found"    // 404
	conflict     result = "conflict"     // 409
	gone         result = "gone"         // 410
	throttled    result = "throttled"    // 429
	serverError  result = "server_error" // 5xx
	rejected     result = "rejected"     // any other 4xx, or a redirection
)

// failure is a request that was not done.
type failure struct {
	result result
	text   string
	// after is what the API server asks us to wait; 0 if it does not say.
	after time.Duration
	// late: the request may have been done, or may still be.
	late bool
	// answered: a healthy API server has said no; the connection is good. A sick one
	// is better left: behind a load balancer the next connection leads to another.
	answered bool
}

func (f *failure) Error() string { return f.text }

// most is the cap of the back-off.
func (f *failure) most() time.Duration {
	switch f.result {
	case unauthorized, forbidden, notFound, gone, rejected, credentials:
		return retryRefused
	}
	return retryAway
}

// crowded: the API server has more to do than it can. Then quick retries make it worse.
func (f *failure) crowded() bool { return f.result == throttled || f.result == timedOut }

// eventWait is how long to wait after the n-th failure in a row to tell an Event.
func (f *failure) eventWait(n int, chance float64) time.Duration {
	if f.crowded() {
		return spread(eventsInCrowd, f.after, chance)
	}
	return f.wait(n, chance)
}

// wait is how long to wait after the n-th failure in a row, n from 0.
func (f *failure) wait(n int, chance float64) time.Duration {
	if f.crowded() {
		return spread(f.most(), f.after, chance)
	}
	return retry(n, f.most(), f.after, chance)
}

// asFailure is err as a failure; of one that is none, our own files are the reason.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{result: credentials, text: problem.Clean(err.Error(), maxText)}
}

// unanswered is a request to which there was no answer.
func unanswered(ctx context.Context, err error) *failure {
	f := &failure{result: unreachable, late: true}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the method and the address
	}
	switch {
	case ctx.Err() != nil:
		f.result = timedOut
		err = context.Cause(ctx)
	case isTimeout(err):
		f.result = timedOut
	case isCertificate(err):
		f.result, f.late = untrusted, false
	}
	f.text = problem.Clean(err.Error(), maxText)
	return f
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// isCertificate: the API server's certificate is not one to trust, or it said in
// the handshake that it does not trust ours (crypto/tls calls that a remote error).
func isCertificate(err error) bool {
	var theirs *tls.CertificateVerificationError
	var ours *net.OpError
	return errors.As(err, &theirs) || errors.As(err, &ours) && ours.Op == "remote error"
}

// refused is a request that the API server answered with a no.
func refused(r *http.Response, message string) *failure {
	if message == "" {
		message = "the API server answers " + r.Status
	}
	f := &failure{text: problem.Clean(message, maxText), after: retryAfter(r.Header, time.Now()), answered: r.StatusCode < 500}
	switch c := r.StatusCode; {
	case c == http.StatusUnauthorized:
		f.result = unauthorized
	case c == http.StatusForbidden:
		f.result = forbidden
	case c == http.StatusNotFound:
		f.result = notFound
	case c == http.StatusConflict:
		f.result = conflict
	case c == http.StatusGone:
		f.result = gone
	case c == http.StatusTooManyRequests:
		f.result = throttled
	case c >= 500:
		f.result = serverError
		f.late = c == http.StatusGatewayTimeout // a proxy, or the API server's own handler, gave up on it
	default:
		f.result = rejected
	}
	return f
}

// retryAfter reads the header of that name, seconds or a date (RFC 9110 section 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s > 0 {
		return min(time.Duration(s), 3600) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// advice says what a person can do about a failure to write the Node.
func (f *failure) advice(node string) string {
	switch f.result {
	case unauthorized:
		return "the credentials are not accepted; is the token or the client certificate still valid?"
	case forbidden:
		return "the agent's role must allow: get nodes, patch nodes/status, create and patch events.events.k8s.io"
	case notFound:
		return fmt.Sprintf("the cluster has no Node %q; was it deleted, or does it go by another name (--node-name, $NODE_NAME)?", node)
	case untrusted:
		return "the certificates do not match or have expired; is the clock right?"
	}
	return ""
}
