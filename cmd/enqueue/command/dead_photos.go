// Photos beside an export: files in a folder, each once.

package command

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
)

// photoFiles writes photos into a folder as they are first asked for.
type photoFiles struct {
	store   *runs.Store
	folder  string // empty: photos stay inside of the rows
	base    string // the folder's name, as rows have it
	written int
	known   map[string]string // by content hash: what stands for photos that were written
}

// mostKnown bounds what is remembered of photos; past it, it begins anew.
const mostKnown = 10_000

// newPhotoFiles is for rows exported to a file; without one, photos stay inside.
func newPhotoFiles(store *runs.Store, output string) photoFiles {
	p := photoFiles{store: store}
	if output == "" {
		return p
	}
	if info, err := os.Stat(output); err == nil && !info.Mode().IsRegular() {
		return p // a pipe or a device has no place beside it
	}
	name := filepath.Base(output)
	p.base = strings.TrimSuffix(name, filepath.Ext(name)) + "-photos"
	p.folder = filepath.Join(filepath.Dir(output), p.base)
	return p
}

// value is what stands for a photo in an exported row: its base64 text, or @path
// of its file. With [runs.ErrPhotoGone] it is a value that names no file.
func (p *photoFiles) value(ctx context.Context, hash string) (string, error) {
	if value, ok := p.known[hash]; ok {
		return value, nil
	}
	text, err := p.store.Photo(ctx, hash)
	if errors.Is(err, runs.ErrPhotoGone) {
		return p.at(hash, ".gone"), err
	}
	if err != nil {
		return "", err
	}
	if p.folder == "" {
		return text, nil
	}
	// What does not come back as the same text stays as it was given: base64
	// with line breaks, say.
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(data) != text {
		return text, nil //nolint:nilerr // it stays as it is
	}
	value := p.at(hash, extension(data))
	if err := p.keep(filepath.Join(p.folder, filepath.Base(value)), data); err != nil {
		return "", err
	}
	if p.known == nil || len(p.known) >= mostKnown {
		p.known = map[string]string{}
	}
	p.known[hash] = value
	return value, nil
}

// at is a photo's file as rows name it, from the folder of their own file.
func (p *photoFiles) at(hash, ext string) string {
	name := strings.Map(hexadecimal, hash)
	name = name[:min(len(name), 16)] + ext
	if p.base == "" {
		return "@" + name
	}
	return "@" + p.base + "/" + name
}

// hexadecimal drops what a content hash never has.
func hexadecimal(r rune) rune {
	if strings.ContainsRune("0123456789abcdef", r) {
		return r
	}
	return -1
}

// extension tells the kind of an image by its first bytes, for those who open it.
func extension(data []byte) string {
	head := string(data[:min(len(data), 8)])
	switch {
	case strings.HasPrefix(head, "\x89PNG"):
		return ".png"
	case strings.HasPrefix(head, "\xff\xd8\xff"):
		return ".jpg"
	case strings.HasPrefix(head, "GIF8"):
		return ".gif"
	}
	return ".photo"
}

// keep writes a photo unless its file is there: whole, or not at all.
func (p *photoFiles) keep(path string, data []byte) error {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() == int64(len(data)) {
		return nil
	}
	if err := os.MkdirAll(p.folder, 0o777); err != nil { //nolint:gosec // as open as the user's umask says
		return &report.WriteError{Name: p.folder, Err: bare(err)}
	}
	p.written++
	return writeWhole(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// bare is an error without the path that stands in front of it already.
func bare(err error) error {
	if inPath, ok := errors.AsType[*fs.PathError](err); ok {
		return inPath.Err
	}
	return err
}

// replaceFile writes a file anew. One with content, which a person may have
// mended, is replaced only if yes. A pipe or a device is written to.
func replaceFile(path string, yes bool, write func(io.Writer) error) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("output %s: %w", path, bare(err))
	case info.IsDir():
		return fmt.Errorf("output %s: is a folder, not a file", path)
	case !info.Mode().IsRegular():
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("output %s: %w", path, bare(err))
		}
		return errors.Join(write(f), f.Close())
	case info.Size() > 0 && !yes:
		return &usageError{fmt.Sprintf("output %s: is there already, mended perhaps; name another file, or replace it with --yes", path)}
	}
	if whole, err := filepath.EvalSymlinks(path); err == nil {
		path = whole // the file behind a link is replaced, not the link
	}
	return writeWhole(path, write)
}

// writeWhole writes a file under another name and gives it its own when it is
// safely on disk: a full disk leaves what was there before.
func writeWhole(path string, write func(io.Writer) error) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".writing")
	f, err := os.Create(temp)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("output %s: its folder does not exist", path)
	}
	if err != nil {
		return fmt.Errorf("output %s: %w", path, bare(err))
	}
	if err = write(f); err == nil {
		err = named(path, f.Sync())
	}
	if closing := f.Close(); err == nil {
		err = named(path, closing)
	}
	if err == nil {
		err = named(path, os.Rename(temp, path))
	}
	if err != nil {
		_ = os.Remove(temp) // what went wrong before matters more
	}
	return err
}

// named gives an error of writing the file it is about.
func named(path string, err error) error {
	if err == nil {
		return nil
	}
	return &report.WriteError{Name: path, Err: bare(err)}
}
