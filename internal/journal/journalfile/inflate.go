package journalfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

const (
	// MaxMessage is the most that is kept of a message, in bytes; journald itself
	// cuts what services print after 48 KiB.
	MaxMessage = 64 << 10
	// maxInflated bounds a compressed field, before and after: a damaged file may
	// claim any size. A field that is larger is given up.
	maxInflated = 8 << 20
	// keepInflated is the largest buffer that is kept for the next field.
	keepInflated = 256 << 10
)

var errTooLarge = fmt.Errorf("compressed field of more than %d MiB", maxInflated>>20)

// inflater uncompresses fields into one buffer.
type inflater struct {
	zstd *zstd.Decoder
	out  []byte
}

// inflate returns what packed holds; of xz the first MaxMessage bytes and a
// little more. The slice is good until the next call.
func (z *inflater) inflate(how byte, packed []byte) ([]byte, error) {
	if cap(z.out) > keepInflated {
		z.out = nil
	}
	var err error
	switch how & compressedMask {
	case compressedZSTD:
		err = z.inflateZSTD(packed)
	case compressedLZ4:
		err = z.inflateLZ4(packed)
	case compressedXZ:
		err = z.inflateXZ(packed)
	default:
		err = fmt.Errorf("unknown compression %#x", how)
	}
	if err == nil && len(z.out) == 0 {
		err = errors.New("compressed field without content")
	}
	if err != nil {
		return nil, err
	}
	return z.out, nil
}

func (z *inflater) inflateZSTD(packed []byte) error {
	if z.zstd == nil {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxInflated))
		if err != nil {
			return err
		}
		z.zstd = d
	}
	out, err := z.zstd.DecodeAll(packed, z.out[:0])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return errTooLarge
	}
	if err == nil {
		z.out = out
	}
	return err
}

// inflateLZ4 reads journald's own framing: the size, then one LZ4 block.
func (z *inflater) inflateLZ4(packed []byte) error {
	if len(packed) < 8 {
		return io.ErrUnexpectedEOF
	}
	size := binary.LittleEndian.Uint64(packed)
	if size > maxInflated {
		return errTooLarge
	}
	z.grow(int(size))
	n, err := lz4.UncompressBlock(packed[8:], z.out[:size])
	z.out = z.out[:max(n, 0)]
	return err
}

func (z *inflater) grow(n int) {
	if cap(z.out) < n {
		z.out = make([]byte, n)
	}
}

// inflateXZ reads the one block of LZMA2 that journald writes. The package xz
// would do, but it takes as much memory as the block's header asks for, up to
// 4 GiB. A dictionary of twice what is read suffices.
func (z *inflater) inflateXZ(packed []byte) error {
	block, err := xzBlock(packed)
	if err != nil {
		return err
	}
	const most = MaxMessage + 256 // and the field's name
	r, err := lzma.Reader2Config{DictCap: 2 * most}.NewReader2(bytes.NewReader(block))
	if err != nil {
		return err
	}
	z.grow(most)
	n, err := io.ReadFull(r, z.out[:most])
	z.out = z.out[:n]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
		return nil
	}
	return err
}

// xzBlock finds the LZMA2 data of the first block: sections 2.1.1 and 3.1 of
// https://tukaani.org/xz/xz-file-format.txt.
func xzBlock(b []byte) ([]byte, error) {
	const streamHeader = 12
	bad := errors.New("not an xz stream of one LZMA2 filter")
	if len(b) < streamHeader+12 || string(b[:6]) != "\xfd7zXZ\x00" {
		return nil, bad
	}
	b = b[streamHeader:]
	size := (int(b[0]) + 1) * 4
	if b[0] == 0 || size > len(b) || crc32.ChecksumIEEE(b[:size-4]) != binary.LittleEndian.Uint32(b[size-4:]) {
		return nil, bad
	}
	head, flags := b[2:size-4], b[1]
	if flags&0x3f != 0 { // more than one filter, or reserved
		return nil, bad
	}
	for _, present := range []byte{0x40, 0x80} { // the sizes, if given
		if flags&present != 0 {
			_, n := binary.Uvarint(head)
			if n <= 0 {
				return nil, bad
			}
			head = head[n:]
		}
	}
	const lzma2 = 0x21
	if len(head) < 3 || head[0] != lzma2 || head[1] != 1 {
		return nil, bad
	}
	return b[size:], nil
}
