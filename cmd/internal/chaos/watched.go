// What is waited for: a text in a log, a time.

package main

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

// watched is a log that knows whether a text was written to it.
type watched struct {
	to   io.Writer
	text []byte
	seen chan struct{} // closed then

	mu   sync.Mutex
	tail []byte
	hit  bool
}

func newWatched(to io.Writer, text string) *watched {
	return &watched{to: to, text: []byte(text), seen: make(chan struct{})}
}

func (o *watched) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.hit {
		o.tail = append(o.tail, b...)
		if bytes.Contains(o.tail, o.text) {
			o.hit, o.tail = true, nil
			close(o.seen)
		} else if keep := len(o.text); len(o.tail) > keep {
			o.tail = append([]byte(nil), o.tail[len(o.tail)-keep:]...)
		}
	}
	return o.to.Write(b)
}

// sleep waits for d, or returns why ctx has ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
