// Calls that end before they leave, or while they are out.

package bitrix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

func TestCallerEndsTheCall(t *testing.T) {
	a := mustWebhook(t, "https://acme.bitrix24.ru/rest/1/"+testSecret)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, stop := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer stop()
	never := roundTrip(func(*http.Request) (*http.Response, error) { t.Error("called"); return nil, io.EOF })
	for _, ctx := range []context.Context{gone, late} {
		_, err := NewClient(Config{Transport: never}).Register(ctx, a, goodBot())
		if e := mustError(t, err); e.Class != Transient || e.Code != CodeNotSent || !errors.Is(err, ctx.Err()) {
			t.Error(e.Class, e)
		}
	}
	for _, reads := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		transport := roundTrip(func(r *http.Request) (*http.Response, error) {
			if reads {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			cancel()
			return nil, r.Context().Err()
		})
		_, err := NewClient(Config{Transport: transport}).Register(ctx, a, goodBot())
		e := mustError(t, err)
		want := map[bool]string{false: "transient NOT_SENT", true: "ambiguous CANCELLED"}[reads]
		if string(e.Class)+" "+e.Code != want || !errors.Is(err, context.Canceled) {
			t.Errorf("read %v: %s %v", reads, e.Class, e)
		}
	}
}

// TestFrozenSender: the wall clock has passed the deadline although no timer
// has noticed; the transport gets no body, now or later.
func TestFrozenSender(t *testing.T) {
	a := mustWebhook(t, "https://acme.bitrix24.ru/rest/1/"+testSecret)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var frozen atomic.Bool
	var body io.ReadCloser
	transport := roundTrip(func(r *http.Request) (*http.Response, error) {
		frozen.Store(true)
		body, _ = r.GetBody()
		n, err := body.Read(make([]byte, 10))
		if n != 0 || err == nil {
			t.Errorf("%d bytes leave after the deadline", n)
		}
		return nil, fmt.Errorf("write: %w", err)
	})
	now := func() time.Time {
		if frozen.Load() {
			return time.Now().Add(2 * time.Hour)
		}
		return time.Now()
	}
	_, err := NewClient(Config{Transport: transport, Now: now}).Register(ctx, a, goodBot())
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeNotSent || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(e.Class, e)
	}
	frozen.Store(false)
	if n, err := body.Read(make([]byte, 10)); n != 0 || !errors.Is(err, errSealed) {
		t.Errorf("%d bytes leave after the call, %v", n, err)
	}
}

// TestFrozenSenderOnAConnection is the same with real connections, plain and
// safe, new and reused: the server must see no request, not even its headers.
func TestFrozenSenderOnAConnection(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			var seen, looks, good atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				text(200, `{"result":1}`)(w, r)
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			if scheme == "http" {
				server.Start()
			} else {
				server.StartTLS()
			}
			defer server.Close()
			c := local(t, func(c *Config) {
				c.Now = func() time.Time {
					if looks.Add(1) > good.Load() {
						return time.Now().Add(2 * time.Hour)
					}
					return time.Now()
				}
			})
			if scheme == "https" {
				c.config.Transport.(*http.Transport).TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			}
			a := mustWebhook(t, server.URL+"/rest/1/"+testSecret)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			register := func(goodLooks int32) error {
				looks.Store(0)
				good.Store(goodLooks)
				_, err := c.Register(ctx, a, goodBot())
				return err
			}
			for _, warm := range []bool{false, true} {
				if warm {
					if err := register(1000); err != nil {
						t.Fatal(err)
					}
				}
				// The look before the connection is good, the one before writing is not.
				if e := mustError(t, register(1)); e.Class != Transient || e.Code != CodeNotSent {
					t.Error(warm, e.Class, e)
				}
			}
			if seen.Load() != 1 {
				t.Errorf("the server saw %d requests", seen.Load())
			}
		})
	}
}
