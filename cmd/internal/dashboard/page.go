// The page, and the files it loads.

package dashboard

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"net/http"
	"path"
	"regexp"
	"strings"
)

// page is asynqmon's page without its links to other hosts, and with ours.
type page struct {
	html    string // with %[1]s where the nonce goes
	scripts string // its inline scripts, as a Content-Security-Policy names them
}

var (
	// Fonts of another host, and the manifest, which browsers fetch without signing in.
	foreignLinks = regexp.MustCompile(`<link [^>]*(href="https?://|rel="manifest")[^>]*>`)
	inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	loadedHosts  = regexp.MustCompile(`(src|href)="(https?:)?//`)
)

// newPage makes the page out of asynqmon's.
func newPage(stock http.Handler, c Config) (*page, error) {
	r, err := http.NewRequest(http.MethodGet, c.Root+"/", nil) //nolint:noctx // it goes to a handler, not to a network
	if err != nil {
		return nil, fmt.Errorf("the dashboard's path: %w", err)
	}
	var got answer
	stock.ServeHTTP(&got, r)
	text := foreignLinks.ReplaceAllString(got.body.String(), "")
	inline := inlineScript.FindAllStringSubmatch(text, -1)
	if got.code() != http.StatusOK || len(inline) == 0 || loadedHosts.MatchString(text) || !strings.Contains(text, "<head>") {
		return nil, errors.New("asynqmon's page is not the one that is known")
	}
	var p page
	for _, s := range inline {
		sum := sha256.Sum256([]byte(s[1]))
		p.scripts += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	root := html.EscapeString(c.Root)
	// Its style library reads the nonce from this tag.
	head := `<head><meta property="csp-nonce" content="%[1]s"/>` +
		`<link rel="stylesheet" href="` + root + ownFolder + `botfleet.css"/>` +
		`<script src="` + root + ownFolder + `botfleet.js"></script>`
	home := ""
	if c.Home != "" {
		home = `<a class="botfleet-home" href="` + html.EscapeString(c.Home) + `">Runs and portals</a>`
	}
	text = strings.ReplaceAll(text, "%", "%%")
	text = strings.Replace(text, "<head>", strings.ReplaceAll(head, "%%", "%"), 1)
	text = strings.Replace(text, `<div id="root">`, home+`<div id="root">`, 1)
	p.html = strings.Replace(text, "<title>Asynq - Monitoring</title>", "<title>Queue · botfleet</title>", 1)
	return &p, nil
}

// ServeHTTP implements [http.Handler].
func (p *page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	nonce := rand.Text()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'"+p.scripts+"; style-src 'self' 'nonce-"+nonce+"'; "+
		"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = fmt.Fprintf(w, p.html, nonce) //nolint:gosec // no text of a request is in it
}

//go:embed web
var web embed.FS

// ownFolder holds our files beside asynqmon's.
const ownFolder = "/botfleet/"

func isOwn(name string) bool { return strings.HasPrefix(name, ownFolder) }

func serveOwn(w http.ResponseWriter, r *http.Request, name string) {
	w.Header().Set("Cache-Control", "private, max-age=300")
	http.ServeFileFS(w, r, web, "web/"+strings.TrimPrefix(name, ownFolder)) //nolint:gosec // it refuses .. in a path, and embedded files have none
}

// isAsset reports whether a path is one of asynqmon's files, and no page of it.
func isAsset(name string) bool {
	switch path.Ext(name) {
	case ".png", ".ico", ".txt", ".json":
		return strings.Count(name, "/") == 1
	}
	return strings.HasPrefix(name, "/static/")
}

// assets serves asynqmon's files.
func assets(stock http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(path.Base(path.Dir(r.URL.Path)), "js") { // their names change with what is in them
			w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
		}
		stock.ServeHTTP(&asset{ResponseWriter: w}, r)
	})
}

// asset passes a file on. In place of one that is not there asynqmon sends its
// page, with its links to other hosts; it is known by having no Content-Type.
type asset struct {
	http.ResponseWriter

	missing bool
}

// Write implements [http.ResponseWriter].
func (a *asset) Write(b []byte) (int, error) {
	if h := a.Header(); !a.missing && h.Get("Content-Type") == "" {
		a.missing = true
		h.Set("Cache-Control", "no-store")
		http.Error(a.ResponseWriter, "there is no such file", http.StatusNotFound)
	}
	if a.missing {
		return len(b), nil
	}
	return a.ResponseWriter.Write(b)
}

// answer keeps what a handler answers. Its zero value is ready for use.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// code is the status; a handler that says nothing means 200.
func (a *answer) code() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}
