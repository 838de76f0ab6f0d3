// Calls over connections that break, hang, are refused or are kept.

package bitrix

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// raw serves connections by hand.
func raw(t *testing.T, handle func(conn *net.TCPConn)) Access {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handle(conn.(*net.TCPConn))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return mustWebhook(t, "http://"+listener.Addr().String()+"/rest/1/"+testSecret)
}

func readRequest(conn net.Conn) {
	if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

// hang keeps a connection open until the client closes it.
func hang(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func TestTransportFailures(t *testing.T) {
	write := func(conn net.Conn, s string) { _, _ = io.WriteString(conn, s) }
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	tests := []struct {
		name   string
		handle func(conn *net.TCPConn)
		class  Class
		codes  string
	}{
		// Whether the body leaves before the client notices is luck: either class is true.
		{"closed before reading", func(c *net.TCPConn) {}, "", CodeReset},
		{"reset after reading", func(c *net.TCPConn) { readRequest(c); _ = c.SetLinger(0) }, Ambiguous, CodeReset},
		{"closed after reading", func(c *net.TCPConn) { readRequest(c) }, Ambiguous, CodeReset},
		{"silence", func(c *net.TCPConn) { readRequest(c); hang(c) }, Ambiguous, CodeTimeout},
		{"slow headers", func(c *net.TCPConn) { readRequest(c); write(c, ok); hang(c) }, Ambiguous, CodeTimeout},
		{"slow body", func(c *net.TCPConn) { readRequest(c); write(c, ok+"Content-Length: 14\r\n\r\n{\"res"); hang(c) }, Ambiguous, CodeTimeout},
		{"cut body", func(c *net.TCPConn) { readRequest(c); write(c, ok+"Content-Length: 14\r\n\r\n{\"res") }, Ambiguous, CodeTruncated},
		{"cut chunks", func(c *net.TCPConn) { readRequest(c); write(c, ok+"Transfer-Encoding: chunked\r\n\r\nff\r\n{\"res") }, Ambiguous, CodeTruncated},
		{"reset in body", func(c *net.TCPConn) {
			readRequest(c)
			write(c, ok+"Content-Length: 14\r\n\r\n{\"res")
			_ = c.SetLinger(0)
		}, Ambiguous, CodeTruncated + " " + CodeReset},
		{"not gzip", func(c *net.TCPConn) {
			readRequest(c)
			write(c, ok+"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
		}, Ambiguous, CodeTruncated},
		{"cut body of 403", func(c *net.TCPConn) { readRequest(c); write(c, "HTTP/1.1 403 No\r\nContent-Length: 14\r\n\r\n<html") }, Transient, CodeTruncated},
		{"not HTTP", func(c *net.TCPConn) { readRequest(c); write(c, "SSH-2.0-OpenSSH\r\n") }, Ambiguous, CodeBadHTTP},
		{"endless headers", func(c *net.TCPConn) {
			readRequest(c)
			write(c, ok+strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 200)+"\r\n")
		}, Ambiguous, CodeBadHTTP + " " + CodeReset},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := raw(t, tt.handle)
			_, err := local(t, func(c *Config) {
				if strings.Contains(tt.codes, CodeTimeout) {
					c.Timeout = 2 * time.Second // the connection itself must be made in it
				}
			}).Register(t.Context(), a, goodBot())
			e := mustError(t, err)
			if tt.class == "" && e.Class == Transient {
				tt.class = Transient
			} else if tt.class == "" {
				tt.class = Ambiguous
			}
			if e.Class != tt.class || !strings.Contains(tt.codes, e.Code) {
				t.Errorf("%s %v", e.Class, e)
			}
		})
	}
}

// TestEchoServer: a server that sends the request back has the secret in its
// "answer", and net/http quotes it.
func TestEchoServer(t *testing.T) {
	a := raw(t, func(c *net.TCPConn) {
		var got []byte
		buffer := make([]byte, 1000)
		for !strings.HasSuffix(string(got), "}}") {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			got = append(got, buffer[:n]...)
		}
		_, _ = c.Write(got)
		hang(c)
	})
	_, err := local(t, nil).Register(t.Context(), a, goodBot())
	e := mustError(t, err)
	if shown := fmt.Sprintf("%v %+v %#v %v %+v", e, *e, e, e.Err, e.Err); strings.Contains(shown, testSecret) || !strings.Contains(shown, hidden) {
		t.Error(shown)
	}
}

func TestNothingListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, err = local(t, nil).Register(t.Context(), mustWebhook(t, "http://"+address+"/rest/1/"+testSecret), goodBot())
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeRefused {
		t.Error(e.Class, e)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(text(200, `{"result":39}`))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it reports what the test provokes
	server.StartTLS()
	defer server.Close()
	a := mustWebhook(t, server.URL+"/rest/1/"+testSecret)
	_, err := local(t, nil).Register(t.Context(), a, goodBot())
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeTLS {
		t.Error(e.Class, e)
	}
	plain := serve(t, text(200, ""))
	_, err = local(t, nil).Register(t.Context(), mustWebhook(t, "https://"+plain.Host()+"/rest/1/"+testSecret), goodBot())
	if e := mustError(t, err); e.Class != Transient || e.Code != CodeTLS {
		t.Error(e.Class, e)
	}
}

// TestHTTP2: the client's own connections speak it where the server does.
func TestHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"result":%d}`, r.ProtoMajor)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	c := local(t, nil)
	transport := c.config.Transport.(*http.Transport)
	transport.TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	got, err := c.Register(t.Context(), mustWebhook(t, server.URL+"/rest/1/"+testSecret), goodBot())
	if err != nil || got.BotID != 2 {
		t.Errorf("HTTP/%d, %v", got.BotID, err)
	}
}

// TestDialCheck: a host name that leads to a loopback address is not called,
// and a network of the operator's lets it through.
func TestDialCheck(t *testing.T) {
	a := serve(t, text(200, `{"result":39}`))
	port := a.Host()[strings.LastIndex(a.Host(), ":"):]
	for _, list := range []string{"", "127.0.0.0/8"} {
		// The transport alone: Check, which runs before, refuses this port.
		transport := newTransport(Config{Endpoints: mustEndpoints(t, list)}.withDefaults())
		c := local(t, func(c *Config) { c.Transport = transport })
		_, err := c.Register(t.Context(), a, goodBot())
		if list != "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if e := mustError(t, err); e.Class != Blocked || e.Code != CodeForbiddenEndpoint {
			t.Error(e.Class, e)
		}
	}
	_, err := local(t, func(c *Config) { c.Endpoints = Endpoints{} }).
		Register(t.Context(), mustWebhook(t, "http://acme.bitrix24.ru"+port+"/rest/1/"+testSecret), goodBot())
	if e := mustError(t, err); e.Class != Blocked || e.Code != CodeForbiddenEndpoint {
		t.Error(e.Class, e)
	}
}

func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	if c := local(t, nil); c.config.Transport.(*http.Transport).Proxy != nil {
		t.Error("the client uses a proxy")
	}
}

func TestCompressedAnswersCountOpened(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, `{"result":"`+strings.Repeat("0", 1<<20)+`7"}`)
		_ = z.Close()
	})
	_, err := local(t, func(c *Config) { c.MaxBody = 1 << 19 }).Register(t.Context(), a, goodBot())
	if e := mustError(t, err); e.Code != CodeTooLarge {
		t.Error(e)
	}
}

// TestConnectionIsKept: one connection serves call after call, errors included.
func TestConnectionIsKept(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(text(400, `{"error":"CODE_ERROR"}`))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := local(t, nil)
	a := mustWebhook(t, server.URL+"/rest/1/"+testSecret)
	for range 5 {
		if _, err := c.Register(t.Context(), a, goodBot()); mustError(t, err).Code != "CODE_ERROR" {
			t.Fatal(err)
		}
	}
	if connections.Load() != 1 {
		t.Errorf("%d connections", connections.Load())
	}
}

// TestReusedConnectionClosed: the server closed the idle connection. The call
// finds a new one, or says that the connection ended, before or after sending.
func TestReusedConnectionClosed(t *testing.T) {
	server := httptest.NewServer(text(200, `{"result":1}`))
	defer server.Close()
	c := local(t, nil)
	a := mustWebhook(t, server.URL+"/rest/1/"+testSecret)
	for range 20 {
		if _, err := c.Register(t.Context(), a, goodBot()); err != nil && mustError(t, err).Code != CodeReset {
			t.Fatal(err)
		}
		server.CloseClientConnections()
	}
}
