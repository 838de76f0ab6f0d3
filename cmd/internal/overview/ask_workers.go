// Who takes rows: asynq's servers, by what they say of themselves.

package overview

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"botfleet/bitrix/portals"
)

const (
	// serversKey is where asynq keeps which of its servers live, by when they are
	// taken for dead. asynq's own way to ask for them brings every task in work
	// with it, far more than is to be known here.
	serversKey = "asynq:servers"
	// mostServers bounds how many are looked at.
	mostServers = 1000
	// takesNothing is the status of a server that was paused, or is stopping.
	takesNothing = "stopped"
)

// askWorkers counts the processes that take rows of this fleet, and those that live
// and take none. A process may have servers of other queues beside.
func (o *Overview) askWorkers(ctx context.Context) (takes, idle int, err error) {
	queues, err := o.cfg.Registry.Queues(ctx)
	if err != nil {
		return 0, 0, err
	}
	living := redis.ZRangeBy{Min: strconv.FormatInt(o.cfg.Now().Unix(), 10), Max: "+inf", Count: mostServers}
	names, err := o.cfg.Redis.ZRangeByScore(ctx, serversKey, &living).Result()
	if err != nil {
		return 0, 0, err
	}
	said := make([]*redis.StringCmd, len(names))
	_, err = o.cfg.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			said[i] = p.Get(ctx, name)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) { // Nil: it has just ended
		return 0, 0, err
	}
	processes := map[string]bool{} // whether they take rows
	for _, cmd := range said {
		s, ok := decodeServer([]byte(cmd.Val()))
		if ok && slices.ContainsFunc(s.queues, func(q string) bool { return slices.Contains(queues, q) || isShard(q) }) {
			processes[s.process] = processes[s.process] || s.status != takesNothing
		}
	}
	for _, does := range processes {
		if does {
			takes++
		} else {
			idle++
		}
	}
	return takes, idle, nil
}

// shardName is what the names of the portals' queues begin with. Workers serve such
// queues before the first portal is given one.
var shardName = strings.TrimSuffix(portals.QueueName(0), "0")

func isShard(queue string) bool {
	digits, ok := strings.CutPrefix(queue, shardName)
	_, err := strconv.ParseUint(digits, 10, 32)
	return ok && err == nil
}

// server is what one of asynq's servers says of itself.
type server struct {
	process, status string
	queues          []string
}

// The fields of asynq's record of a server (ServerInfo in its asynq.proto), and of
// an entry of a map.
const (
	serverHost, serverPID, serverQueues, serverStatus protowire.Number = 1, 2, 5, 7
	mapKey                                            protowire.Number = 1
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
