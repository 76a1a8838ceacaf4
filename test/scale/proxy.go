package main

// This file: what stands between the agents and the API server, and counts.

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// proxy passes connections on and counts them and their bytes, in both directions.
type proxy struct {
	listener           net.Listener
	to                 string
	bytes, connections atomic.Int64
}

// counter counts while a connection is still open.
type counter struct {
	net.Conn
	n *atomic.Int64
}

func (c counter) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(int64(n))
	return n, err
}

func newProxy(to string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, to: to}
	go p.serve()
	return p, nil
}

func (p *proxy) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // it was closed
		}
		go p.pass(c)
	}
}

func (p *proxy) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return // so the agent is told that nobody is there
	}
	defer func() { _ = server.Close() }()
	p.connections.Add(1)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{server, client}, {client, server}} {
		both.Go(func() {
			_, _ = io.Copy(counter{way[0], &p.bytes}, way[1])
			// The other direction ends with this one: HTTP has no half-open connections.
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	both.Wait()
}
