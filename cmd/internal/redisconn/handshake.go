// Connections that break while they are being opened.

package redisconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// handshake keeps a patient client from being patient with the wrong thing.
//
// go-redis repeats the commands with which it opens a connection as often as any
// other, on that very connection, even when it has broken. With the many tries of
// [Engine] a connection that is accepted and then closed, as by a Redis that dies
// or a balancer before one that is away, would stop whoever waits for it for half
// a minute after everything is well again: longer than a task's lease. This hook
// ends the repeats; the command that the connection was opened for is repeated on
// another one.
type handshake struct{}

// handshakePause is how long the repeats may pause in all. An answer that is
// slow, but comes, is not affected.
const handshakePause = 100 * time.Millisecond

// patiently is for clients with many tries.
func patiently(c redis.UniversalClient) redis.UniversalClient {
	if cluster, ok := c.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(handshake{}) })
		return c
	}
	c.AddHook(handshake{})
	return c
}

// DialHook implements [redis.Hook].
func (handshake) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements [redis.Hook].
func (handshake) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !opens(cmd) {
			return next(ctx, cmd)
		}
		return briefly(ctx, func(ctx context.Context) error { return next(ctx, cmd) })
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (handshake) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !slices.ContainsFunc(cmds, opens) {
			return next(ctx, cmds)
		}
		return briefly(ctx, func(ctx context.Context) error { return next(ctx, cmds) })
	}
}

// opens reports whether a command is one with which connections are opened;
// nobody here sends them otherwise.
func opens(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "auth", "select", "readonly", "client":
		return true
	}
	return false
}

// briefly bounds the pauses between the tries of what do does.
func briefly(ctx context.Context, do func(context.Context) error) error {
	bound, cancel := context.WithTimeout(ctx, handshakePause)
	defer cancel()
	err := do(bound)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		// As what it is, or the command that waits would not be repeated.
		return fmt.Errorf("a new connection broke: %w", io.ErrUnexpectedEOF)
	}
	return err
}
