package cri

// This file: the lists of sandboxes and containers, read from the wire. Of each entry
// three quarters are labels and annotations, which the generated types would make
// maps of: on a node with 330 containers that is 3 MB of garbage at each look.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec by this name
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxEntry is the most that one entry of a list may have. Kubernetes bounds the
// annotations of a pod to 256 KiB.
const maxEntry = 512 << 10

// listCodec writes requests as the generated types do, and hands each entry of the
// answer to a visitor.
type listCodec struct{ encoding.CodecV2 }

func newListCodec() listCodec { return listCodec{encoding.GetCodecV2("proto")} }

// visitor takes in one entry of a list. What it is given is valid until it returns.
type visitor func(entry []byte) error

// Unmarshal implements encoding.CodecV2; v is a *visitor.
func (listCodec) Unmarshal(data mem.BufferSlice, v any) error {
	r := data.Reader()
	defer func() { _ = r.Close() }()
	return eachEntry(r, *v.(*visitor))
}

// source is a message to be read.
type source interface {
	io.Reader
	io.ByteReader
}

// eachEntry visits the entries of a message that is a list: its field 1, repeated.
func eachEntry(r source, visit visitor) error {
	var buf []byte
	for {
		tag, err := binary.ReadUvarint(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		typ := protowire.Type(tag & 7)
		if typ == protowire.VarintType { // of a later version
			if _, err := binary.ReadUvarint(r); err != nil {
				return fmt.Errorf("failed to unmarshal: %w", err)
			}
			continue
		}
		if typ != protowire.BytesType {
			return fmt.Errorf("failed to unmarshal: a list with a field of tag %d", tag)
		}
		size, err := binary.ReadUvarint(r)
		if err != nil {
			return fmt.Errorf("failed to unmarshal: %w", err)
		}
		if size > maxEntry {
			return fmt.Errorf("failed to unmarshal: an entry of %d bytes", size)
		}
		if uint64(cap(buf)) < size {
			buf = make([]byte, size)
		}
		if _, err := io.ReadFull(r, buf[:size]); err != nil {
			return fmt.Errorf("failed to unmarshal: %w", err)
		}
		if tag>>3 != 1 {
			continue
		}
		if err := visit(buf[:size]); err != nil {
			return err
		}
	}
}

// The kinds of fields that are read: their tag is the field's number, shifted by
// three bits, and this.
const (
	asNumber = uint64(protowire.VarintType)
	asText   = uint64(protowire.BytesType)
)

// fields visits the numbers and the texts of a message by the tags of their fields.
func fields(b []byte, visit func(tag, number uint64, text []byte) error) error {
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("failed to unmarshal: %w", protowire.ParseError(n))
		}
		b = b[n:]
		var (
			number uint64
			text   []byte
		)
		switch typ {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("failed to unmarshal: %w", protowire.ParseError(n))
		}
		if err := visit(protowire.EncodeTag(field, typ), number, text); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// parseSandbox reads a PodSandbox of the CRI.
func parseSandbox(b []byte) (s Sandbox, err error) {
	s.Ready = true // the first of its states, which is not written
	s.Created = time.Unix(0, 0)
	err = fields(b, func(tag, number uint64, text []byte) error {
		switch tag {
		case 1<<3 | asText:
			s.ID = bounded(string(text))
		case 2<<3 | asText:
			return fields(text, func(tag, _ uint64, text []byte) error {
				switch tag {
				case 1<<3 | asText:
					s.Name = bounded(string(text))
				case 2<<3 | asText:
					s.UID = bounded(string(text))
				case 3<<3 | asText:
					s.Namespace = bounded(string(text))
				}
				return nil
			})
		case 3<<3 | asNumber:
			s.Ready = runtime.PodSandboxState(number) == runtime.PodSandboxState_SANDBOX_READY
		case 4<<3 | asNumber:
			s.Created = time.Unix(0, int64(number))
		}
		return nil
	})
	return s, err
}

// parseContainer reads a Container of the CRI.
func parseContainer(b []byte) (c Container, err error) {
	c.Created = time.Unix(0, 0)
	err = fields(b, func(tag, number uint64, text []byte) error {
		switch tag {
		case 1<<3 | asText:
			c.ID = bounded(string(text))
		case 2<<3 | asText:
			c.Sandbox = bounded(string(text))
		case 3<<3 | asText:
			return fields(text, func(tag, number uint64, text []byte) error {
				switch tag {
				case 1<<3 | asText:
					c.Name = bounded(string(text))
				case 2<<3 | asNumber:
					c.Attempt = uint32(number)
				}
				return nil
			})
		case 6<<3 | asNumber:
			c.Running = runtime.ContainerState(number) == runtime.ContainerState_CONTAINER_RUNNING
		case 7<<3 | asNumber:
			c.Created = time.Unix(0, int64(number))
		}
		return nil
	})
	return c, err
}
