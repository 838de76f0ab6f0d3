// How fast the sandbox answers: it must not be what limits a measurement.

package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// BenchmarkRegister registers bots one by one over keep-alive connections, by
// the sandbox's transport and by bare sockets (which shows the sandbox alone).
func BenchmarkRegister(b *testing.B) {
	b.Run("transport", func(b *testing.B) {
		box := Start(b, WithUnknownHosts(Unlimited("")))
		client := &http.Client{Transport: box.Transport()}
		var n atomic.Int64
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := n.Add(1)
				url := fmt.Sprintf("https://p%d.bitrix24.ru%simbot.register", i%1000, hook)
				resp, err := client.Post(url, "application/json", strings.NewReader(bot(fmt.Sprint("bot", i))))
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
		report(b, box)
	})
	b.Run("socket", func(b *testing.B) {
		box := Start(b, WithUnknownHosts(Unlimited("")))
		var n atomic.Int64
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) { rawCalls(b, box.Addr(), pb, &n) })
		report(b, box)
	})
}

// BenchmarkStrays is the search of one registration for the secrets of ten
// thousand portals, beside which the 20 or more µs that a request takes count.
func BenchmarkStrays(b *testing.B) {
	const portals = 10_000
	box := New(WithApplication(appID, appSecret))
	defer box.Close()
	for i := range portals {
		box.AddPortal(Portal{
			Name: fmt.Sprintf("p%d.bitrix24.ru", i), App: appID,
			Webhooks: []Webhook{{User: "1", Secret: Secret(fmt.Sprintf("%016x", uint64(i+1)*0x9E3779B97F4A7C15))}},
		})
	}
	at := place{host: "p7.bitrix24.ru", st: box.Portal("p7.bitrix24.ru")}
	access, _ := at.st.Pair()
	for name, body := range map[string]string{
		"token": bot("bot", `"auth":`+quote(string(access))), "photo of 1 MB": bot("bot", `"x":"`+strings.Repeat("Zm9v", 1<<18)+`"`),
	} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodPost, "/rest/imbot.register", http.NoBody)
			r.Header.Set("Content-Type", "application/json")
			text := []byte(body)
			for b.Loop() {
				box.strays(at, "imbot.register", r, text)
			}
		})
	}
	if n := len(box.Violations()); n > 0 {
		b.Errorf("%d violations", n)
	}
}

func report(b *testing.B, box *Sandbox) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	if made := box.Stats().BotsCreated; made != b.N {
		b.Errorf("%d bots made by %d calls", made, b.N)
	}
}

// rawCalls writes requests to a socket as text.
func rawCalls(b *testing.B, addr string, pb *testing.PB, n *atomic.Int64) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for pb.Next() {
		i := n.Add(1)
		body := bot(fmt.Sprint("bot", i))
		_, err := fmt.Fprintf(conn, "POST %simbot.register HTTP/1.1\r\nHost: p%d.bitrix24.ru\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			hook, i%1000, len(body), body)
		if err != nil {
			b.Error(err)
			return
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			b.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}
