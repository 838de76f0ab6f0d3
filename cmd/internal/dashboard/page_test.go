// The page loads from here alone, and runs no script that is not known.

package dashboard

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"botfleet/ratelimit/redistest"
)

func TestThePageLoadsFromHereAlone(t *testing.T) {
	s := served(t, "redis://"+miniredis.RunT(t).Addr()+"/0")
	seen := map[string]bool{}
	for _, path := range []string{"/", "/queues/shard:0", "/queues/shard:0/tasks/x.y", "/redis", "/static"} {
		code, text, h := s.do("GET", path, "")
		if code != http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), "text/html") || !strings.Contains(text, `<a class="botfleet-home" href="/">`) {
			t.Fatalf("%s: HTTP %d %s", path, code, text)
		}
		for _, m := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(m[1], "/dashboard/") && m[1] != "/" {
				t.Errorf("%s loads %s", path, m[1])
			}
		}
		csp := h.Get("Content-Security-Policy")
		for _, m := range regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(text, -1) {
			sum := sha256.Sum256([]byte(m[1]))
			if !strings.Contains(csp, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
				t.Errorf("%s: its own script is not allowed: %s", csp, m[1])
			}
		}
		nonce := regexp.MustCompile(`csp-nonce" content="([^"]+)"`).FindStringSubmatch(text)
		if nonce == nil || seen[nonce[1]] || !strings.Contains(csp, "'nonce-"+nonce[1]+"'") {
			t.Errorf("%s: nonce %v in %s", path, nonce, csp)
		} else {
			seen[nonce[1]] = true
		}
		for _, loose := range []string{"unsafe", "*", "http:", "https:"} {
			if strings.Contains(csp, loose) {
				t.Errorf("%s allows %s", csp, loose)
			}
		}
		if !strings.HasPrefix(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Error(csp)
		}
	}
}

func TestAssets(t *testing.T) {
	s := served(t, "redis://"+miniredis.RunT(t).Addr()+"/0")
	_, text, _ := s.do("GET", "/", "")
	links := regexp.MustCompile(`(?:src|href)="/dashboard(/[^"]+)"`).FindAllStringSubmatch(text, -1)
	if len(links) < 6 {
		t.Fatalf("only %d files", len(links))
	}
	for _, m := range links {
		code, text, h := s.do("GET", m[1], "")
		kind := h.Get("Content-Type")
		if code != http.StatusOK || text == "" || strings.HasPrefix(kind, "text/html") ||
			strings.HasSuffix(m[1], ".js") && !strings.Contains(kind, "javascript") || strings.HasSuffix(m[1], ".css") && !strings.HasPrefix(kind, "text/css") {
			t.Errorf("%s: HTTP %d %s, %d bytes", m[1], code, kind, len(text))
		}
		if kept := h.Get("Cache-Control"); strings.Contains(m[1], "/static/js/") != strings.Contains(kept, "immutable") {
			t.Errorf("%s: %s", m[1], kept)
		}
	}
	for _, path := range []string{"/static/js/none.js", "/none.png", "/botfleet/none.js"} {
		if code, text, h := s.do("GET", path, ""); code != http.StatusNotFound || strings.Contains(text, "<script") || strings.Contains(h.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: HTTP %d, %v", path, code, h)
		}
	}
}

func TestSettings(t *testing.T) {
	rdb := redistest.Client(t, "redis://"+miniredis.RunT(t).Addr()+"/0")
	for _, c := range []Config{{}, {Redis: rdb, Root: "dashboard"}, {Redis: rdb, Root: "/dashboard/"}, {Redis: rdb, Root: "/"}} {
		if _, err := New(c); err == nil {
			t.Errorf("%q is accepted", c.Root)
		}
	}
}
