package kube

// This file: the requests that are ever made: four by the agent, one by its clean-up.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// timeout bounds a request, from the name's resolution to the last byte. An API
	// server that has too much to do keeps a request waiting for 15 s before it says so
	// (a quarter of its --request-timeout): who gives up earlier only loses its place.
	timeout = 30 * time.Second
	// connectWithin bounds the way to a connection, without TLS, which takes an API
	// server CPU. Where there is a machine at all, its kernel answers that soon.
	connectWithin = 10 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes. A Node with 50 images
	// and long lists of managed fields has some 100 KiB.
	maxAnswer = 4 << 20
	// manager is the name under which the API server notes whose fields are whose.
	manager = "nodevitals"
)

// strategicMerge is the content type of a patch that merges lists by their keys.
const strategicMerge = "application/strategic-merge-patch+json"

// onlyMetadata asks for the object's metadata as the answer to a write: nobody
// reads the rest.
const onlyMetadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

// client is a session with the API server. It is made anew after a pause or a
// failure; see Access.endpoint.
type client struct {
	http  *http.Client
	close func() // its idle connections
	base  *url.URL
	node  string
	used  bool // there was an answer before: a connection may be left
	// crowded: that answer was to come again later. Then the API server is not frozen,
	// and it closes a connection on which it has not asked for the body.
	crowded bool
}

// get reads our own Node.
func (c *client) get(ctx context.Context) (ownNode, error) {
	var n ownNode
	// The API server's cache suffices: nobody else writes what we look for.
	err := c.do(ctx, request{method: http.MethodGet, path: []string{"api/v1/nodes", c.node}, query: "resourceVersion=0", into: &n})
	return n, err
}

// names lists the names of all Nodes, a page at a time.
func (c *client) names(ctx context.Context) ([]string, error) {
	var all []string
	for next := ""; ; {
		var page struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []struct {
				Metadata struct {
					Name string `json:"name"`
				} `json:"metadata"`
			} `json:"items"`
		}
		err := c.do(ctx, request{
			method: http.MethodGet, path: []string{"api/v1/nodes"}, query: "limit=500&continue=" + url.QueryEscape(next),
			accept: "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", into: &page,
		})
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			all = append(all, item.Metadata.Name)
		}
		if next = page.Metadata.Continue; next == "" {
			return all, nil
		}
	}
}

// patchStatus brings our conditions of the Node up to date. compose is called when
// the patch is about to be sent, at most once.
func (c *client) patchStatus(ctx context.Context, compose func() ([]byte, error)) error {
	return c.do(ctx, request{
		method: http.MethodPatch, path: []string{"api/v1/nodes", c.node, "status"}, query: "fieldManager=" + manager,
		compose: compose, content: strategicMerge,
	})
}

// createEvent makes a new Event.
func (c *client) createEvent(ctx context.Context, namespace string, body []byte) error {
	return c.do(ctx, request{
		method: http.MethodPost, path: []string{"apis/events.k8s.io/v1/namespaces", namespace, "events"},
		query: "fieldManager=" + manager, body: body, content: "application/json",
	})
}

// patchEvent counts an Event up.
func (c *client) patchEvent(ctx context.Context, namespace, name string, body []byte) error {
	return c.do(ctx, request{
		method: http.MethodPatch, path: []string{"apis/events.k8s.io/v1/namespaces", namespace, "events", name},
		query: "fieldManager=" + manager, body: body, content: strategicMerge,
	})
}

type request struct {
	method, query string
	accept        string // "application/json", or another form of what is read into
	path          []string
	body          []byte
	compose       func() ([]byte, error) // of the body, in its stead
	content       string
	into          any
}

// lateBody is a body that is made when it is first read: that is when there is a
// connection and the API server wants it.
type lateBody struct {
	compose func() ([]byte, error)
	rest    *bytes.Reader
}

func (b *lateBody) Read(p []byte) (int, error) {
	if b.rest == nil {
		raw, err := b.compose()
		if err != nil {
			return 0, err
		}
		b.rest = bytes.NewReader(raw)
	}
	return b.rest.Read(p)
}

// do makes one request, once: whether and when to try again is decided elsewhere,
// with what is true by then.
func (c *client) do(ctx context.Context, r request) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	u := c.base.JoinPath(r.path...)
	u.RawQuery = r.query
	var body io.Reader = bytes.NewReader(r.body)
	late := &lateBody{compose: r.compose}
	if r.compose != nil {
		body = late
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), body)
	if err != nil {
		return err
	}
	if r.compose != nil && c.used && !c.crowded {
		// Behind a connection that is left from before, the API server may be frozen;
		// what is sent to it now it would take in when it goes on, however old by then.
		req.Header.Set("Expect", "100-continue")
	}
	req.Header.Set("Accept", onlyMetadata)
	if r.into != nil {
		req.Header.Set("Accept", cmp.Or(r.accept, "application/json"))
	}
	if r.content != "" {
		req.Header.Set("Content-Type", r.content)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		f := unanswered(ctx, err)
		f.late = f.late && (r.compose == nil || late.rest != nil)
		return f
	}
	defer func() { _ = resp.Body.Close() }()
	c.used, c.crowded = true, resp.StatusCode == http.StatusTooManyRequests
	answer := io.LimitReader(resp.Body, maxAnswer)
	if resp.StatusCode >= 300 {
		var s struct { // a metav1.Status
			Message string `json:"message"`
		}
		_ = json.NewDecoder(answer).Decode(&s) // a proxy's page has none
		return refused(resp, s.Message)
	}
	if r.into != nil {
		if err := json.NewDecoder(answer).Decode(r.into); err != nil {
			return unanswered(ctx, fmt.Errorf("the API server's answer: %w", err))
		}
	}
	// What is read to its end leaves the connection fit for the next request. That
	// it cannot be is no failure: the answer was a yes.
	_, _ = io.Copy(io.Discard, answer)
	return nil
}
