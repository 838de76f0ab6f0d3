// asynq's record of a server.

package fleet

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// server is what one of asynq's servers says of itself.
type server struct {
	process, status string
	slots           int
	queues          []string
}

// The fields of asynq's record of a server (ServerInfo in its asynq.proto), and of
// an entry of a map.
const (
	serverHost, serverPID, serverSlots, serverQueues, serverStatus protowire.Number = 1, 2, 4, 5, 7
	mapKey                                                         protowire.Number = 1
)

// decodeServer reads a record; it is not ok when it is none.
func decodeServer(record []byte) (s server, ok bool) {
	var host string
	var pid uint64
	ok = eachField(record, func(n protowire.Number, number uint64, text []byte) {
		switch n {
		case serverHost:
			host = string(text)
		case serverPID:
			pid = number
		case serverSlots:
			s.slots = int(min(number, math.MaxInt32))
		case serverStatus:
			s.status = string(text)
		case serverQueues:
			eachField(text, func(n protowire.Number, _ uint64, text []byte) {
				if n == mapKey {
					s.queues = append(s.queues, string(text))
				}
			})
		default:
		}
	})
	s.process = fmt.Sprintf("%s %d", host, pid)
	return s, ok && len(record) > 0
}

// eachField calls f with the fields of a message that are numbers or texts, and
// reports whether it is a message.
func eachField(message []byte, f func(n protowire.Number, number uint64, text []byte)) bool {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return false
		}
		message = message[size:]
		var number uint64
		var text []byte
		switch kind {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			text, size = protowire.ConsumeBytes(message)
		default:
			size = protowire.ConsumeFieldValue(n, kind, message)
		}
		if size < 0 {
			return false
		}
		f(n, number, text)
		message = message[size:]
	}
	return true
}
