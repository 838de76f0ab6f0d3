// Photos given as @path: found in the input's folder, read once, kept within bounds.

package rowfile

import (
	"container/list"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// maxPhoto is the largest photo file taken: 5 MB.
	maxPhoto = 5 << 20
	// keptPhotos bounds the memory of photos already read: some hundreds of
	// usual ones, nine of the largest.
	keptPhotos = 64 << 20
)

// photos reads photo files of one folder. What was used last is kept, problems
// too, so that a million rows with one photo read it once.
type photos struct {
	folder string
	kept   map[string]*list.Element
	order  *list.List // of *photo, latest used first
	bytes  int
}

type photo struct {
	path    string
	content string // base64
	problem string
}

func newPhotos(folder string) *photos {
	return &photos{folder: folder, kept: make(map[string]*list.Element), order: list.New()}
}

// load returns a photo as base64, or what is wrong with it.
func (p *photos) load(path string) (content, problem string) {
	if e, ok := p.kept[path]; ok {
		p.order.MoveToFront(e)
		ph := e.Value.(*photo) //nolint:forcetypeassert // the list holds nothing else
		return ph.content, ph.problem
	}
	ph := &photo{path: path}
	data, err := p.read(path)
	if err != nil {
		ph.problem = err.Error()
	} else {
		ph.content = base64.StdEncoding.EncodeToString(data)
	}
	p.keep(ph)
	return ph.content, ph.problem
}

// size is what a kept photo costs, its place in map and list included.
func (ph *photo) size() int { return len(ph.path) + len(ph.content) + len(ph.problem) + 200 }

func (p *photos) keep(ph *photo) {
	p.kept[ph.path] = p.order.PushFront(ph)
	p.bytes += ph.size()
	for p.bytes > keptPhotos {
		last := p.order.Back()
		old := last.Value.(*photo) //nolint:forcetypeassert // the list holds nothing else
		p.order.Remove(last)
		delete(p.kept, old.path)
		p.bytes -= old.size()
	}
}

func (p *photos) read(path string) ([]byte, error) {
	inside, err := p.inside(path)
	if err != nil {
		return nil, err
	}
	shown := named(path)
	root, err := os.OpenRoot(p.folder)
	if err != nil {
		return nil, photoError(shown, err)
	}
	data, err := readPhoto(root, inside, shown)
	return data, errors.Join(err, root.Close())
}

// inside returns the path relative to the input's folder, and refuses one that
// leads out of it. (os.Root refuses links that lead out.)
func (p *photos) inside(path string) (string, error) {
	if strings.TrimSpace(path) == "" {
		return "", errors.New("@ without a file name")
	}
	if filepath.IsAbs(path) {
		folder, err := filepath.Abs(p.folder)
		if err != nil {
			return "", photoError(named(path), err)
		}
		if relative, err := filepath.Rel(folder, path); err == nil {
			path = relative
		}
	}
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("photo %s is outside the input's folder; put it there or in a folder below", named(path))
	}
	return path, nil
}

func readPhoto(root *os.Root, path, shown string) ([]byte, error) {
	info, err := root.Stat(path)
	if err != nil {
		return nil, photoError(shown, err)
	}
	// Before opening: opening a pipe would wait for its other end.
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("photo %s is not a file", shown)
	}
	f, err := root.Open(path)
	if err != nil {
		return nil, photoError(shown, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPhoto+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, photoError(shown, err)
	}
	if len(data) > maxPhoto {
		return nil, fmt.Errorf("photo %s is larger than 5 MB", shown)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("photo %s is empty", shown)
	}
	return data, nil
}

func photoError(shown string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("photo %s: there is no such file", shown)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("photo %s may not be read (permission denied)", shown)
	}
	if inPath, ok := errors.AsType[*fs.PathError](err); ok {
		err = inPath.Err
	}
	return fmt.Errorf("photo %s cannot be read: %w", shown, err)
}
