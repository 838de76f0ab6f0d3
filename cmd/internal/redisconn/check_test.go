package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"botfleet/cmd/internal/redisconn"
	"botfleet/ratelimit/redistest"
)

// checkError checks a Redis by URL and gives the error, having measured the time.
func checkError(t *testing.T, url string) error {
	t.Helper()
	c, err := redisconn.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = c.Check(t.Context())
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the check took %v", took)
	}
	return err
}

func wantProblem(t *testing.T, url, want string) {
	t.Helper()
	err := checkError(t, url)
	var p *redisconn.Problem
	if !errors.As(err, &p) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
		return
	}
	if strings.ContainsAny(err.Error(), "\n\r") || strings.Contains(err.Error(), secret) {
		t.Errorf("not one line, or shows the password: %q", err)
	}
}

// serve answers every connection with f, until the test ends.
func serve(t *testing.T, f func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			running.Go(func() { f(conn); stop(); _ = conn.Close() })
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); running.Wait() })
	return l.Addr().String()
}

func TestCheckPasses(t *testing.T) {
	s := redistest.Start(t, redistest.Password(secret))
	if err := checkError(t, s.URL); err != nil {
		t.Error(err)
	}
}

func TestCheckUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "rs") //nolint:usetesting // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	sock := filepath.Join(dir, "r.sock")
	redistest.Start(t, redistest.Set("unixsocket", sock))
	if err := checkError(t, "unix://"+sock+"?db=3"); err != nil {
		t.Error(err)
	}
	wantProblem(t, "unix://"+sock+"x", "there is no such socket")
}

func TestCheckNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	wantProblem(t, "redis://:"+secret+"@"+addr, "nothing listens there")
	wantProblem(t, "redis-cluster://"+addr, "nothing listens there")
	wantProblem(t, "redis-sentinel://"+addr+"/m", "nothing listens there")
	wantProblem(t, "redis://no-such-host.invalid", `no host is named "no-such-host.invalid"`)
}

func TestCheckPasswords(t *testing.T) {
	s := redistest.Start(t, redistest.Password("right"))
	wantProblem(t, "redis://"+s.Addr, "it wants a password")
	wantProblem(t, "redis://:"+secret+"@"+s.Addr, "refuses the user name or password")
	wantProblem(t, "redis://bob:"+secret+"@"+s.Addr, "refuses the user name or password")
	open := redistest.Start(t)
	wantProblem(t, "redis://bob:"+secret+"@"+open.Addr, "refuses the user name or password")
}

func TestCheckNotARedis(t *testing.T) {
	t.Parallel() // most of it is waiting
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	wantProblem(t, "redis://"+web.Listener.Addr().String(), "something that is not a Redis listens there")
	wantProblem(t, "rediss://"+web.Listener.Addr().String(), "does not speak TLS")

	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	wantProblem(t, "rediss://"+secure.Listener.Addr().String(), "certificate is not trusted")
	wantProblem(t, "redis://"+secure.Listener.Addr().String(), "redis at")

	smtp := serve(t, func(c net.Conn) { _, _ = io.WriteString(c, "220 mail ESMTP\r\n"); _, _ = io.Copy(io.Discard, c) })
	wantProblem(t, "redis://"+smtp, "something that is not a Redis listens there")
	silent := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	wantProblem(t, "redis://"+silent, "it does not answer")
	rude := serve(t, func(net.Conn) {})
	wantProblem(t, "redis://"+rude, "it hangs up at once")
}

func TestCheckAnswersThatMakeItUseless(t *testing.T) {
	for _, tt := range []struct{ ping, info, want string }{
		{"+PONG", "redis_version:6.0.16\r\nrole:master", "version 6.0.16; 6.2 or newer"},
		{"+PONG", "redis_version:7.0.0\r\nredis_mode:sentinel", "it is a Sentinel"},
		{"+PONG", "redis_version:7.0.0\r\nredis_mode:cluster", "redis-cluster://"},
		{"-LOADING Redis is loading the dataset in memory", "", "still loading"},
		{"-NOPERM this user has no permissions to run the 'ping' command", "", "may not run PING"},
		{"-MASTERDOWN Link with MASTER is down", "", "without its master"},
		{"-DENIED Redis is running in protected mode", "", "protected mode"},
		{"-ERR max number of clients reached", "", "no connections left"},
	} {
		addr := serve(t, func(c net.Conn) { fakeRedis(c, tt.ping, tt.info) })
		wantProblem(t, "redis://"+addr, tt.want)
	}
}

// fakeRedis answers PING and INFO as told, and nothing else.
func fakeRedis(c net.Conn, ping, info string) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		for word := range strings.FieldsSeq(strings.ToUpper(string(buf[:n]))) {
			answer := ""
			switch word {
			case "PING":
				answer = ping + "\r\n"
			case "INFO":
				answer = fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
			case "HELLO":
				answer = "-ERR unknown command 'HELLO'\r\n"
			case "CLIENT":
				answer = "+OK\r\n"
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

func TestCheckReplica(t *testing.T) {
	master := redistest.Start(t)
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := redistest.Start(t, redistest.Set("replicaof", host+" "+port))
	wantProblem(t, replica.URL, "a read-only replica of "+host+":"+port)
}

func TestCheckModes(t *testing.T) {
	plain := redistest.Start(t)
	wantProblem(t, "redis-cluster://"+plain.Addr, "it is not a Redis Cluster")
	node := redistest.Start(t, redistest.Set("cluster-enabled", "yes"))
	wantProblem(t, node.URL, "redis-cluster://")
	wantProblem(t, "redis-cluster://"+node.Addr, "cluster is down")
	wantProblem(t, fmt.Sprintf("redis://%s/99", plain.Addr), "no database of that number")
	wantProblem(t, "redis-sentinel://"+plain.Addr+"/m", "redis at")
}

func TestCheckCluster(t *testing.T) {
	t.Parallel() // most of it is waiting
	node := redistest.Start(t, redistest.Set("cluster-enabled", "yes"))
	client := redistest.Client(t, node.URL)
	if err := client.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !strings.Contains(client.ClusterInfo(ctx).Val(), "cluster_state:ok") {
		select {
		case <-ctx.Done():
			t.Fatal("the cluster never came up")
		case <-ticker.C:
		}
	}
	if err := checkError(t, "redis-cluster://"+node.Addr); err != nil {
		t.Error(err)
	}
}

func TestCheckSentinel(t *testing.T) {
	master := redistest.Start(t, redistest.Password(secret))
	host, port, _ := net.SplitHostPort(master.Addr)
	conf := fmt.Sprintf("sentinel monitor mymaster %s %s 1\nsentinel auth-pass mymaster %s\n", host, port, secret)
	addr := startSentinel(t, conf)
	if err := checkError(t, "redis-sentinel://:"+secret+"@"+addr+"/mymaster"); err != nil {
		t.Error(err)
	}
	wantProblem(t, "redis-sentinel://:"+secret+"@"+addr+"/nobody", "do not know a master of that name")
	wantProblem(t, "redis-sentinel://"+addr+"/mymaster", "it wants a password")
	wantProblem(t, "redis://"+addr, "it is a Sentinel")
}

// startSentinel starts redis-server as a Sentinel on a free port, which another
// process may take first.
func startSentinel(t *testing.T, conf string) (addr string) {
	t.Helper()
	for range 5 {
		if addr = trySentinel(t, conf); addr != "" {
			return addr
		}
	}
	t.Fatal("no Sentinel, although five ports were tried")
	return ""
}

// trySentinel gives "" when the Sentinel does not answer with its own process id.
func trySentinel(t *testing.T, conf string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(file, []byte("port "+port+"\nbind 127.0.0.1\n"+conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", file, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the process, which Cleanup ends
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client := redistest.Client(t, "redis://"+addr)
	own := fmt.Sprintf("process_id:%d\r\n", cmd.Process.Pid)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !strings.Contains(client.Info(ctx, "server").Val(), own) {
		select {
		case <-ended:
			return ""
		case <-ctx.Done():
			return ""
		case <-ticker.C:
		}
	}
	return addr
}

func TestCheckStopsWithItsContext(t *testing.T) {
	silent := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	c, err := redisconn.Parse("redis://" + silent)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestServers(t *testing.T) {
	s := redistest.Start(t, redistest.MaxMemory("50mb"), redistest.Set("maxmemory-policy", "allkeys-lru"))
	all, err := redisconn.Servers(t.Context(), redistest.Client(t, s.URL))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	if one := all[0]; one.Max != 50<<20 || one.Used <= 0 || one.Share() <= 0 || one.Share() > 0.5 || !one.Loses() || one.Version == "" || one.AOF || one.ReadOnly {
		t.Errorf("%+v", one)
	}
	calm := redistest.Start(t, redistest.Set("maxmemory-policy", "allkeys-lru"), redistest.Set("appendonly", "yes"))
	all, err = redisconn.Servers(t.Context(), redistest.Client(t, calm.URL))
	if err != nil || len(all) != 1 || all[0].Loses() || all[0].Share() != 0 || !all[0].AOF {
		t.Errorf("%+v, %v: nothing is lost without a bound", all, err)
	}
}

func TestFullest(t *testing.T) {
	if got := redisconn.Fullest([]redisconn.Server{{Used: 50}, {Used: 8, Max: 10}, {Used: 70, Max: 100}}); got.Used != 8 {
		t.Errorf("%+v", got)
	}
	if got := redisconn.Fullest(nil); got != (redisconn.Server{}) {
		t.Errorf("%+v", got)
	}
}

func TestLogTo(t *testing.T) {
	// Process-global, and so never set back: the other tests are quieter for it.
	redisconn.LogTo(slog.New(slog.DiscardHandler))
	wantProblem(t, "redis://127.0.0.1:1", "nothing listens there")
}
