// Opening a source: which format it has, and everything that can be said about
// it before its first row.

package rowfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
)

// The formats of rows, as --input-format names them.
const (
	JSONL = "jsonl"
	JSON  = "json"
	CSV   = "csv"
)

// Options of [Open].
type Options struct {
	// Format is jsonl (or ndjson), json or csv. Empty: what the file's name
	// ends with. Standard input needs it.
	Format string
	// Stdin is what "-" reads. Defaults to os.Stdin.
	Stdin io.Reader
	// TempDir is where a source that can be read only once is kept for the
	// second reading. Defaults to the system's folder for temporary files.
	TempDir string
	// Bare is set for rows that have neither portal nor id: each is for every
	// portal.
	Bare bool
}

// File is a source of rows, ready to be read any number of times. It is for
// one goroutine.
type File struct {
	name   string // as errors give it
	format string
	path   string // what is opened for each reading
	spool  string // temporary copy to remove; empty when path is the user's file
	as     fs.FileInfo
	photos *photos
	bare   bool
}

// Open gets a source ready: a file's path, or "-" for standard input. What can
// be read only once (standard input, a pipe) is copied to a temporary file,
// which [File.Close] removes; ctx ends that copying. Errors are of type
// [*Error], apart from the end of ctx.
func Open(ctx context.Context, path string, o Options) (*File, error) {
	if path == "-" {
		return openStdin(ctx, o)
	}
	info, statErr := os.Stat(path)
	if statErr == nil && info.IsDir() { // before its name is blamed for having no extension
		return nil, &Error{File: path, Problem: "is a folder, not a file of rows"}
	}
	format, err := formatOf(path, o.Format)
	if err != nil {
		return nil, &Error{File: path, Problem: err.Error()}
	}
	if statErr != nil {
		return nil, cannotRead(path, statErr)
	}
	if !info.Mode().IsRegular() {
		return openPipe(ctx, path, format, o)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, cannotRead(path, err)
	}
	if err := f.Close(); err != nil {
		return nil, cannotRead(path, err)
	}
	return &File{name: path, format: format, path: path, as: info, photos: newPhotos(filepath.Dir(path)), bare: o.Bare}, nil
}

func openStdin(ctx context.Context, o Options) (*File, error) {
	const name = "standard input"
	if o.Format == "" {
		return nil, &Error{File: name, Problem: "has no name to tell its format by; give --input-format jsonl, json or csv"}
	}
	format, err := formatOf("", o.Format)
	if err != nil {
		return nil, &Error{File: name, Problem: err.Error()}
	}
	in := o.Stdin
	if in == nil {
		in = os.Stdin
	}
	return openSpooled(ctx, name, format, in, ".", o.TempDir)
}

func openPipe(ctx context.Context, path, format string, o Options) (*File, error) {
	f, err := openUntil(ctx, path)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, cannotRead(path, err)
	}
	file, err := openSpooled(ctx, path, format, f, filepath.Dir(path), o.TempDir)
	if closing := f.Close(); closing != nil && err == nil {
		return nil, errors.Join(cannotRead(path, closing), file.Close())
	}
	return file, err
}

func openSpooled(ctx context.Context, name, format string, in io.Reader, folder, tempDir string) (*File, error) {
	path, err := spool(ctx, in, tempDir)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Error{File: name, Problem: "cannot be kept in a temporary file: " + err.Error(), Err: err}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, cannotRead(name, err)
	}
	return &File{name: name, format: format, path: path, spool: path, as: info, photos: newPhotos(folder)}, nil
}

// formatOf decides on a format by what the user said, else by the file's name.
func formatOf(path, said string) (string, error) {
	if said != "" {
		switch strings.ToLower(said) {
		case JSONL, "ndjson":
			return JSONL, nil
		case JSON:
			return JSON, nil
		case CSV:
			return CSV, nil
		}
		return "", fmt.Errorf("unknown input format %q; it is jsonl, json or csv", said)
	}
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".jsonl", ".ndjson":
		return JSONL, nil
	case ".json":
		return JSON, nil
	case ".csv":
		return CSV, nil
	case ".xlsx", ".xls", ".ods":
		return "", fmt.Errorf("files ending in %s are not read; save it as CSV UTF-8", ext)
	case "":
		return "", errors.New("has no extension to tell its format by; give --input-format jsonl, json or csv")
	default:
		return "", fmt.Errorf("files ending in %s are not known; use .jsonl, .ndjson, .json or .csv, or give --input-format", named(ext))
	}
}

// cannotRead is the error for a file that the system does not let us read.
func cannotRead(name string, err error) *Error {
	problem := "cannot be read"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		problem = "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		problem = "may not be read (permission denied)"
	default:
		// The path is in front already.
		if inPath, ok := errors.AsType[*fs.PathError](err); ok {
			err = inPath.Err
		}
		problem += ": " + err.Error()
	}
	return &Error{File: name, Problem: problem, Err: err}
}

// Name returns the source as errors call it.
func (f *File) Name() string { return f.name }

// Close removes what Open left on disk.
func (f *File) Close() error {
	if f.spool == "" {
		return nil
	}
	err := os.Remove(f.spool)
	f.spool = ""
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the temporary copy of %s: %w", f.name, err)
	}
	return nil
}

// Rows goes through the source from its beginning. A pair holds either a row
// or, as the last one, an [*Error]. A source without any row ends with one.
func (f *File) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		in, err := os.Open(f.path)
		if err != nil {
			yield(Row{}, cannotRead(f.name, err))
			return
		}
		s := &scan{name: f.name, photos: f.photos, bare: f.bare, yield: yield}
		err = f.unchanged(in)
		if err == nil {
			err = s.run(in, f.format)
		}
		// The file was only read: its closing can lose nothing.
		_ = in.Close()
		if err != nil && !s.left {
			yield(Row{}, s.asError(err))
		}
	}
}

// unchanged refuses a file that is no longer the one that was opened: what the
// first reading found good would not hold for the second.
func (f *File) unchanged(in *os.File) error {
	info, err := in.Stat()
	if err != nil {
		return cannotRead(f.name, err)
	}
	if info.Size() != f.as.Size() || !info.ModTime().Equal(f.as.ModTime()) {
		return &Error{File: f.name, Problem: "was changed after it was opened; start again"}
	}
	return nil
}
