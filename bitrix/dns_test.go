// A name server and a listener of the tests' own: where names lead, and who
// was connected to.

package bitrix

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// zone answers every name with addresses of its own. With rounds, each look-up
// gets the next of them.
type zone struct {
	answers []string
	rounds  [][]string

	mu      sync.Mutex
	lookups map[string]int // questions by type
}

// resolver asks the zone and nobody else.
func (z *zone) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go z.serve(server)
		return client, nil
	}}
}

// serve speaks DNS as over TCP: each message has its length before it.
func (z *zone) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		answer := z.answer(query)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// answer repeats the question and adds the addresses of the type asked for.
func (z *zone) answer(query []byte) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	question := query[12 : end+5]
	kind := binary.BigEndian.Uint16(question[len(question)-4:])
	var records []byte
	count := 0
	for _, address := range z.next(kind) {
		addr := netip.MustParseAddr(address)
		if addr.Is4() != (kind == 1) {
			continue
		}
		data := addr.AsSlice()
		records = append(records, 0xc0, 12) // the name is the question's
		records = binary.BigEndian.AppendUint16(records, kind)
		records = append(records, 0, 1, 0, 0, 0, 0) // IN, no caching
		records = binary.BigEndian.AppendUint16(records, uint16(len(data)))
		records = append(records, data...)
		count++
	}
	answer := append([]byte{query[0], query[1], 0x85, 0x80, 0, 1, 0, byte(count), 0, 0, 0, 0}, question...)
	return append(answer, records...)
}

func (z *zone) next(kind uint16) []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.lookups == nil {
		z.lookups = map[string]int{}
	}
	key := map[uint16]string{1: "A", 28: "AAAA"}[kind]
	round := z.lookups[key]
	z.lookups[key]++
	if len(z.rounds) == 0 {
		return z.answers
	}
	return z.rounds[min(round, len(z.rounds)-1)]
}

// asked is how often addresses were asked for.
func (z *zone) asked() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.lookups["A"]
}

// victim listens on loopback, by IPv4 and, where there is one, by IPv6, and
// counts connections.
type victim struct {
	port      string
	listeners []net.Listener
	count     atomic.Int32
	own       int32 // connections of calls
}

func listen(t testing.TB) *victim {
	t.Helper()
	first, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{listeners: []net.Listener{first}}
	v.port = first.Addr().String()[strings.LastIndex(first.Addr().String(), ":")+1:]
	if second, err := net.Listen("tcp6", "[::1]:"+v.port); err == nil {
		v.listeners = append(v.listeners, second)
	}
	var serving sync.WaitGroup
	for _, listener := range v.listeners {
		serving.Go(func() { v.serve(listener) })
	}
	t.Cleanup(func() {
		for _, listener := range v.listeners {
			_ = listener.Close()
		}
		serving.Wait()
	})
	return v
}

func (v *victim) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		v.count.Add(1)
		_ = conn.Close()
	}
}

// calls counts the connections of others so far. It makes one of its own to
// each listener first: whatever came before has then been taken.
func (v *victim) calls(t testing.TB) int32 {
	t.Helper()
	for _, listener := range v.listeners {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn) // until it was taken and closed
		_ = conn.Close()
		v.own++
	}
	return v.count.Load() - v.own
}
