// What Redis says, in words for a person.

package command

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// What the two answers mean by which Redis refuses to write.
const (
	fullText    = "Redis is full: raise its maxmemory, or wait until rows have ended and their runs have expired"
	replicaText = "Redis takes no writes: it is a read-only replica; use the master's address"
)

// silentText is for a Redis that had not answered when the command was interrupted.
const silentText = "interrupted, and Redis does not answer"

// plain replaces Redis' own words for a refused write, which go on with the script
// that it was in, and Go's for an interruption, and keeps what was being done.
func plain(err error) string {
	text := err.Error()
	switch {
	case redis.IsOOMError(err):
		return replaced(text, "OOM ", fullText)
	case redis.IsReadOnlyError(err):
		return replaced(text, "READONLY ", replicaText)
	case errors.Is(err, context.Canceled):
		return strings.ReplaceAll(text, context.Canceled.Error(), errInterrupted.Error())
	case errors.Is(err, redis.ErrClosed):
		return strings.ReplaceAll(text, redis.ErrClosed.Error(), silentText)
	}
	return text
}

// replaced is text with its line from a word on replaced.
func replaced(text, from, by string) string {
	before, after, ok := strings.Cut(text, from)
	if !ok {
		return by
	}
	_, rest, more := strings.Cut(after, "\n")
	if more {
		by += "\n" + rest
	}
	return before + by
}
