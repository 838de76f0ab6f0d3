// A file of results that a later run takes up again.

package report

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Output is a file of results. What an earlier, interrupted run left in it as
// registered stays; everything else of that run is dropped, to be written anew.
// It is for one goroutine, and for one process at a time.
type Output struct {
	ResultWriter
	path     string
	format   string
	file     *os.File
	previous index
	closed   bool
}

// OpenOutput opens a file for results, as jsonl, json or csv; an empty format
// is taken from the file's name (.csv, .json; else jsonl). A file that holds
// something else than results is refused and stays as it is. Open it when the
// input has been checked: opening already drops what is not registered.
func OpenOutput(path, format string) (*Output, error) {
	format, err := outputFormat(path, format)
	if err != nil {
		return nil, err
	}
	o := &Output{format: format}
	// The file behind a link is replaced, not the link.
	if o.path, err = filepath.EvalSymlinks(path); errors.Is(err, fs.ErrNotExist) {
		o.path, err = path, nil
	}
	if err != nil {
		return nil, outputError(path, err)
	}
	if err := o.open(path); err != nil {
		return nil, err
	}
	return o, nil
}

// outputFormat decides on the format of an output.
func outputFormat(path, said string) (string, error) {
	switch said {
	case JSONL, JSON, CSV:
		return said, nil
	case Table:
		return "", fmt.Errorf("output %s: a table cannot be taken up again; use jsonl, json or csv", path)
	case "":
	default:
		return "", fmt.Errorf("output %s: unknown format %q; it is jsonl, json or csv", path, said)
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv":
		return CSV, nil
	case ".json":
		return JSON, nil
	}
	return JSONL, nil
}

func (o *Output) open(name string) error {
	info, err := os.Stat(o.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return outputError(name, err)
	}
	kept := 0
	flags := os.O_RDWR | os.O_CREATE
	switch {
	case err != nil: // new
	case info.IsDir():
		return fmt.Errorf("output %s: is a folder, not a file", name)
	case !info.Mode().IsRegular(): // a pipe or a device: nothing to take up
		flags = os.O_WRONLY
	case info.Size() > 0:
		if kept, err = o.compact(name, info.Mode().Perm()); err != nil {
			return err
		}
	}
	if o.file, err = os.OpenFile(o.path, flags, 0o666); err != nil {
		return outputError(name, err)
	}
	if kept > 0 {
		if _, err := o.file.Seek(0, io.SeekEnd); err != nil {
			return errors.Join(outputError(name, err), o.file.Close())
		}
	}
	e, err := encodingOf(o.format)
	if err != nil {
		return errors.Join(err, o.file.Close())
	}
	o.ResultWriter = newStream(o.file, e, name, kept)
	return nil
}

// compact rewrites an existing file so that it holds its registered rows only,
// in a new file beside it that takes its place when it is safely on disk. It
// returns how many there are.
func (o *Output) compact(name string, mode fs.FileMode) (kept int, err error) {
	old, err := os.Open(o.path)
	if err != nil {
		return 0, outputError(name, err)
	}
	defer func() { _ = old.Close() }() // only read from: nothing to lose
	// The name is always the same, so that what a killed run left goes too.
	temp := filepath.Join(filepath.Dir(o.path), "."+filepath.Base(o.path)+".compacting")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, outputError(name, err)
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return 0, outputError(name, err)
	}
	kept, err = o.keepRegistered(name, old, f)
	if err == nil {
		err = outputError(name, f.Sync())
	}
	err = errors.Join(err, outputError(name, f.Close()))
	if err == nil && kept > 0 {
		err = outputError(name, os.Rename(temp, o.path))
	}
	if err != nil || kept == 0 {
		err = errors.Join(err, outputError(name, os.Remove(temp)))
	}
	if err == nil && kept == 0 {
		err = outputError(name, os.Truncate(o.path, 0))
	}
	if err != nil {
		return 0, err
	}
	return kept, outputError(name, syncFolder(filepath.Dir(o.path)))
}

// keepRegistered copies the registered results of old to f, without the tail
// of the format, and notes where each begins.
func (o *Output) keepRegistered(name string, old, f *os.File) (kept int, err error) {
	e, err := encodingOf(o.format)
	if err != nil {
		return 0, err
	}
	count := &counter{w: f}
	s := newStream(count, e, name, 0)
	s.begin()
	o.previous = newIndex()
	for r, err := range previousResults(old, o.format) {
		if err != nil {
			return 0, fmt.Errorf("output %s: holds something else than results of an earlier run (%w); name another file, or move this one away", name, err)
		}
		if r.Status != Registered {
			continue
		}
		lead := len(e.later)
		if s.rows == 0 {
			lead = len(e.first)
		}
		o.previous.add(r, count.n+int64(s.w.Buffered()+lead))
		if err := s.Write(r); err != nil {
			return 0, err
		}
	}
	return s.rows, s.Flush()
}

// counter counts the bytes that went through.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Registered returns the result that an earlier run left for a bot: portal and
// CODE, in any case. Such a row is in the file already and is not to be
// written again. Results of this run are not found.
func (o *Output) Registered(portal, code string) (Result, bool) {
	at, ok := o.previous.find(portal, code)
	if !ok {
		return Result{}, false
	}
	r, err := resultAt(o.file, at, o.format)
	if err != nil || botKey(r.Portal, r.Code) != botKey(portal, code) {
		// Unreadable, or another bot of the same hash: to the caller, not
		// registered. It is then asked for again, which a portal answers with
		// the bot it has.
		return Result{}, false
	}
	return r, true
}

// Kept returns how many registered rows of an earlier run are in the file.
func (o *Output) Kept() int { return o.previous.rows }

// Close ends the output and sees it safely on disk.
func (o *Output) Close() error {
	if o.closed {
		return nil
	}
	o.closed = true
	err := o.ResultWriter.Close()
	if info, statErr := o.file.Stat(); err == nil && statErr == nil && info.Mode().IsRegular() {
		err = o.failed(o.file.Sync())
	}
	return errors.Join(err, o.failed(o.file.Close()))
}

func (o *Output) failed(err error) error {
	if err == nil {
		return nil
	}
	return &WriteError{Name: o.path, Err: err}
}

// syncFolder makes a rename last through a power cut.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// outputError says what cannot be done with the output file, in one line.
func outputError(name string, err error) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("output %s: its folder does not exist: %w", name, fs.ErrNotExist)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("output %s: may not be written: %w", name, fs.ErrPermission)
	}
	if inPath, ok := errors.AsType[*fs.PathError](err); ok {
		err = inPath.Err
	}
	return &WriteError{Name: name, Err: err}
}
