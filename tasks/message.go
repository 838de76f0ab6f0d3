// What asynq keeps of a task, read where its own functions would take a question
// for each task.

package tasks

import (
	"encoding/binary"
	"errors"
)

// message is what of asynq's TaskMessage is needed here.
type message struct {
	id      string
	payload []byte
	retried int    // failures counted
	lastErr string // also of a task that was only put off
}

var errMessage = errors.New("the task's message is not asynq's")

// decodeMessage reads a TaskMessage of asynq v0.26.0 (internal/proto/asynq.proto):
// payload is field 2, id 3, retried 6, error_msg 7.
func decodeMessage(b []byte) (message, error) {
	var m message
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return m, errMessage
		}
		value, n2 := binary.Uvarint(b[n:])
		if n2 <= 0 {
			return m, errMessage
		}
		b = b[n+n2:]
		switch tag & 7 {
		case 0: // a number
			if tag>>3 == 6 {
				m.retried = int(min(value, 1<<31-1))
			}
		case 2: // bytes, with their length before them
			if value > uint64(len(b)) {
				return m, errMessage
			}
			switch tag >> 3 {
			case 2:
				m.payload = b[:value]
			case 3:
				m.id = string(b[:value])
			case 7:
				m.lastErr = string(b[:value])
			}
			b = b[value:]
		default:
			return m, errMessage
		}
	}
	return m, nil
}
