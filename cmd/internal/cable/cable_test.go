// A cable before a server that repeats what it hears.

package cable

import (
	"bufio"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that repeats every line, behind a cable.
func echo(t *testing.T) *Cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			})
		}
	})
	p, err := New(t.Context(), l.Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		_ = l.Close()
		all.Wait()
	})
	return p
}

type line struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, p *Cable) *line {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &line{t: t, Conn: c, in: bufio.NewReader(c)}
}

// ask sends a line, and returns what comes back within a time.
func (l *line) ask(text string, within time.Duration) (string, error) {
	l.t.Helper()
	if _, err := l.Write([]byte(text + "\n")); err != nil {
		return "", err
	}
	return l.hear(within)
}

func (l *line) hear(within time.Duration) (string, error) {
	if err := l.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	return l.in.ReadString('\n')
}

const (
	soon = 5 * time.Second        // what has to come, comes within
	idle = 100 * time.Millisecond // what must not come has not come by then
)

func TestACutNetworkDeliversLate(t *testing.T) {
	for _, m := range []Mode{Dead, Deaf} {
		p := echo(t)
		l := dial(t, p)
		if got, err := l.ask("one", soon); got != "one\n" || err != nil {
			t.Fatal(got, err)
		}
		p.Set(m, false)
		if got, err := l.ask("two", idle); err == nil {
			t.Errorf("%s: %q came through", m, got)
		}
		p.Set(Whole, false)
		if got, err := l.hear(soon); got != "two\n" || err != nil {
			t.Errorf("%s: %q %v after it healed", m, got, err)
		}
	}
}

func TestANetworkThatDiesOnTheWay(t *testing.T) {
	p := echo(t)
	l := dial(t, p)
	died := p.DeadAfter(int64(len("one\ntwo\n")))
	if got, err := l.ask("one", soon); got != "one\n" || err != nil {
		t.Fatal(got, err)
	}
	select {
	case <-died:
		t.Error("it died early")
	default:
	}
	if got, err := l.ask("two", idle); err == nil {
		t.Errorf("%q came through", got)
	}
	select {
	case <-died:
	case <-time.After(soon):
		t.Fatal("it lives")
	}
	p.Set(Whole, false)
	if got, err := l.hear(soon); got != "two\n" || err != nil {
		t.Errorf("%q %v after it healed", got, err)
	}
	if got, err := l.ask("three", soon); got != "three\n" || err != nil {
		t.Errorf("%q %v: it died again", got, err)
	}
}

func TestACutNetworkForgets(t *testing.T) {
	p := echo(t)
	l := dial(t, p)
	if _, err := l.ask("one", soon); err != nil {
		t.Fatal(err)
	}
	p.Set(Dead, true)
	p.Set(Whole, true)
	if got, err := l.ask("two", soon); err == nil || os.IsTimeout(err) {
		t.Errorf("%q, %v: the connection is not told that it is dead", got, err)
	}
	if got, err := dial(t, p).ask("three", soon); got != "three\n" || err != nil {
		t.Errorf("a new connection: %q %v", got, err)
	}
}

func TestARefusingNetworkResets(t *testing.T) {
	p := echo(t)
	l := dial(t, p)
	if _, err := l.ask("one", soon); err != nil {
		t.Fatal(err)
	}
	p.Set(Refusing, false)
	if got, err := l.hear(soon); err == nil || os.IsTimeout(err) {
		t.Errorf("%q, %v: the connection still stands", got, err)
	}
	if c, err := net.Dial("tcp", p.Addr()); err == nil { // it may be reset that soon
		l := &line{t: t, Conn: c, in: bufio.NewReader(c)}
		if got, err := l.ask("two", soon); err == nil || os.IsTimeout(err) {
			t.Errorf("%q, %v: a new connection stands", got, err)
		}
		_ = c.Close()
	}
	p.Set(Whole, false)
	if got, err := dial(t, p).ask("three", soon); got != "three\n" || err != nil {
		t.Errorf("after it healed: %q %v", got, err)
	}
}

// What is over is told as such, and not as a break.
func TestAnEndIsPassedOn(t *testing.T) {
	l := dial(t, echo(t))
	if _, err := l.ask("one", soon); err != nil {
		t.Fatal(err)
	}
	if err := l.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := l.hear(soon); got != "" || err != io.EOF { //nolint:errorlint // a reader returns it as it is
		t.Errorf("%q, %v: not an end", got, err)
	}
}
