package kube

// This file: the four requests that are ever made.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// timeout bounds a request, from the name's resolution to the last byte.
	timeout = 10 * time.Second
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
}

// get reads our own Node.
func (c *client) get(ctx context.Context) (ownNode, error) {
	var n ownNode
	// The API server's cache suffices: nobody else writes what we look for.
	err := c.do(ctx, request{method: http.MethodGet, path: []string{"api/v1/nodes", c.node}, query: "resourceVersion=0", into: &n})
	return n, err
}

// patchStatus brings our conditions of the Node up to date.
func (c *client) patchStatus(ctx context.Context, body []byte) error {
	return c.do(ctx, request{
		method: http.MethodPatch, path: []string{"api/v1/nodes", c.node, "status"}, query: "fieldManager=" + manager,
		body: body, content: strategicMerge,
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
	path          []string
	body          []byte
	content       string
	into          any
}

// do makes one request, once: whether and when to try again is decided elsewhere,
// with what is true by then.
func (c *client) do(ctx context.Context, r request) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	u := c.base.JoinPath(r.path...)
	u.RawQuery = r.query
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", onlyMetadata)
	if r.into != nil {
		req.Header.Set("Accept", "application/json")
	}
	if r.content != "" {
		req.Header.Set("Content-Type", r.content)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unanswered(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
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
