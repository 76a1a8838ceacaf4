package mounthelper

// This file is what the agent and the helper say to each other: one message a
// packet of a SOCK_SEQPACKET socket.

import (
	"encoding/binary"
	"errors"
)

// request asks the helper for a statfs.
//
//	id uint32 | major uint32 | minor uint32 | flags uint8 | path
type request struct {
	id           uint32
	major, minor uint32 // the device that must be found at path
	unkillable   bool
	path         string
}

// answer is what the helper says of a request: first that it is taken, then how it
// ended. Before all, it says that it is ready.
//
//	magic uint8 | what uint8 | id uint32 | errno uint32
type answer struct {
	what  uint8
	id    uint32
	errno uint32
}

// What an answer says.
const (
	taken    = 1 // the call is made now
	answered = 2 // the file system has answered, with errno
	busy     = 3 // all threads are in calls
	unkept   = 4 // not asked: that the call is made cannot be kept, because of errno
	foreign  = 5 // not asked: another file system, or none, is at path; errno says why there is none
	asked    = 6 // not asked: another agent's call is still in the file system
	ready    = 7 // no answer to a request: the helper has started
)

const (
	requestHead = 13
	answerSize  = 10
	// answerMagic is a byte that no text has: should the helper panic, what it
	// prints comes over the same socket.
	answerMagic = 0xf5
	// maxPath is PATH_MAX without the final zero.
	maxPath        = 4095
	flagUnkillable = 1
)

var errMessage = errors.New("no message of this protocol")

func (r request) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, r.id)
	b = binary.LittleEndian.AppendUint32(b, r.major)
	b = binary.LittleEndian.AppendUint32(b, r.minor)
	flags := byte(0)
	if r.unkillable {
		flags = flagUnkillable
	}
	return append(append(b, flags), r.path...)
}

func parseRequest(b []byte) (request, error) {
	if len(b) <= requestHead || len(b) > requestHead+maxPath {
		return request{}, errMessage
	}
	return request{
		id: binary.LittleEndian.Uint32(b), major: binary.LittleEndian.Uint32(b[4:]), minor: binary.LittleEndian.Uint32(b[8:]),
		unkillable: b[12]&flagUnkillable != 0, path: string(b[requestHead:]),
	}, nil
}

func (a answer) append(b []byte) []byte {
	b = append(b, answerMagic, a.what)
	b = binary.LittleEndian.AppendUint32(b, a.id)
	return binary.LittleEndian.AppendUint32(b, a.errno)
}

func parseAnswer(b []byte) (answer, error) {
	if len(b) != answerSize || b[0] != answerMagic || b[1] < taken || b[1] > ready {
		return answer{}, errMessage
	}
	return answer{what: b[1], id: binary.LittleEndian.Uint32(b[2:]), errno: binary.LittleEndian.Uint32(b[6:])}, nil
}
