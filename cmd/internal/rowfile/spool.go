// Keeping what can be read only once in a temporary file.

package rowfile

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// spool copies in to a temporary file and returns its path. When ctx ends it
// leaves no file behind.
func spool(ctx context.Context, in io.Reader, dir string) (path string, err error) {
	f, err := os.CreateTemp(dir, "botfleet-rows-*")
	if err != nil {
		return "", err
	}
	err = errors.Join(copyUntil(ctx, f, in), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// copyUntil copies in to out until its end or that of ctx. A read that blocks
// (a terminal nobody types at) cannot always be ended: where the reader takes
// no deadline, the copying goroutine is left behind in its read. It then holds
// nothing but its buffer and writes nothing any more.
func copyUntil(ctx context.Context, out io.Writer, in io.Reader) error {
	done := make(chan error, 1)
	go func() { done <- copyWhile(ctx, out, in) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	if d, ok := in.(interface{ SetReadDeadline(time.Time) error }); ok && d.SetReadDeadline(time.Unix(1, 0)) == nil {
		return errors.Join(ctx.Err(), <-done)
	}
	return ctx.Err()
}

// openUntil opens a pipe, which waits for its other end, until the end of ctx.
// The goroutine that is then left behind closes what it may still open.
func openUntil(ctx context.Context, path string) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened)
	go func() {
		f, err := os.Open(path)
		select {
		case done <- opened{f, err}:
		case <-ctx.Done():
			if err == nil {
				_ = f.Close() // only opened, never read
			}
		}
	}()
	select {
	case o := <-done:
		return o.f, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// copyWhile is io.Copy that looks at ctx between a read and its write.
func copyWhile(ctx context.Context, out io.Writer, in io.Reader) error {
	buf := make([]byte, readBuffer)
	for {
		n, err := in.Read(buf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
