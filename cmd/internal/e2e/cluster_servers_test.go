// Redis servers as an operator runs several: over TLS, with users of their own.

//go:build !race

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	bignum "math/big"
	random "math/rand/v2"
	"net"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/cmd/internal/built"
)

// Passwords of the users below. Nothing may print the fleet's.
const (
	operatorPassword = "0p3r4t0r"
	fleetPassword    = "fl33t+p4ss/w0rd"
	watchPassword    = "w4tch+m4n/0f"
)

// fleetUser is the user of workers and producers, and the least that it needs.
const fleetUser = `user fleet on >` + fleetPassword + ` ` + fleetACL

const fleetACL = `resetkeys ~asynq:* ~botfleet:* resetchannels &asynq:cancel -@all ` +
	`+@read +@write +@connection +@transaction -@dangerous +eval +evalsha +subscribe +unsubscribe ` +
	`+info +time +command +cluster|slots +cluster|info +cluster|nodes +cluster|keyslot`

// watchUser is the user of workers and producers on Sentinels.
const watchUser = `user watch on >` + watchPassword + ` ` + watchACL

const watchACL = `resetkeys resetchannels &+switch-master &+replica-reconf-done -@all +@connection -@dangerous ` +
	`+subscribe +sentinel|get-master-addr-by-name +sentinel|sentinels`

// authority signs the certificate that servers and clients show.
type authority struct {
	ca, cert, key string // files
	trust         *tls.Config
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	dir := t.TempDir()
	a := &authority{ca: filepath.Join(dir, "ca.crt"), cert: filepath.Join(dir, "redis.crt"), key: filepath.Join(dir, "redis.key")}
	root := &x509.Certificate{
		SerialNumber: bignum.NewInt(1), Subject: pkix.Name{CommonName: "tests of botfleet"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: bignum.NewInt(2), Subject: pkix.Name{CommonName: "redis"}, NotAfter: root.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	rootKey, leafKey := newKey(t), newKey(t)
	rootDER := signed(t, root, root, &rootKey.PublicKey, rootKey)
	leafDER := signed(t, leaf, root, &leafKey.PublicKey, rootKey)
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.ca, "CERTIFICATE", rootDER)
	writePEM(t, a.cert, "CERTIFICATE", leafDER)
	writePEM(t, a.key, "PRIVATE KEY", keyDER)
	pair, err := tls.LoadX509KeyPair(a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(rootDER)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	a.trust = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t *testing.T, c, parent *x509.Certificate, public *ecdsa.PublicKey, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// parameters are those of REDIS_URL that trust the authority, and show its certificate.
func (a *authority) parameters() neturl.Values {
	return neturl.Values{"ca": {a.ca}, "cert": {a.cert}, "key": {a.key}}
}

// member is one server of several: a Redis, or a Sentinel.
type member struct {
	t      *testing.T
	addr   string
	args   []string
	cmd    *exec.Cmd
	output bytes.Buffer // read when the process has ended
	client *redis.Client
}

// newMember starts a server that speaks nothing but TLS, and lets nobody in but
// its users.
func newMember(t *testing.T, a *authority, addr string, lines []string, args ...string) *member {
	t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	conf := filepath.Join(dir, "redis.conf") // which Sentinels and nodes of a cluster write to
	text := strings.Join(append([]string{
		"bind 127.0.0.1", "port 0", "tls-port " + port, "dir " + dir,
		"tls-cert-file " + a.cert, "tls-key-file " + a.key, "tls-ca-cert-file " + a.ca, "tls-replication yes",
		// Off, but with rights: a Redis reads transactions in its own file as this user.
		"user default off ~* &* +@all", "user operator on >" + operatorPassword + " allkeys allchannels allcommands",
	}, lines...), "\n")
	if err := os.WriteFile(conf, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &member{t: t, addr: addr, args: append([]string{conf}, args...)}
	m.client = redis.NewClient(&redis.Options{Addr: addr, Username: "operator", Password: operatorPassword, TLSConfig: a.trust, MaxRetries: 1, DialerRetries: 1})
	t.Cleanup(func() { _ = m.client.Close() })
	m.start()
	t.Cleanup(m.kill)
	return m
}

// redisLines are of a Redis that keeps what it is told, as most do.
var redisLines = []string{
	`save ""`, "appendonly yes", "appendfsync everysec", "repl-diskless-sync-delay 0",
	"masteruser operator", "masterauth " + operatorPassword, fleetUser,
}

// start starts the server, also again.
func (m *member) start() {
	m.t.Helper()
	m.cmd = exec.Command("redis-server", m.args...)
	m.cmd.Stdout = &m.output
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	await(m.t, 20*time.Second, "the server at "+m.addr, func() bool { return m.client.Ping(m.t.Context()).Err() == nil })
}

// kill ends the server without a last word.
func (m *member) kill() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
	m.cmd = nil
	if m.t.Failed() {
		m.t.Logf("the server at %s printed:\n%s", m.addr, built.Tail(m.output.String()))
	}
}

// freeAddrs finds addresses whose port, and the one 10,000 above, where a cluster's
// nodes talk to each other, is free at this moment. Both are below those that the
// system gives to whoever asks for any.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	for _, port := range random.Perm(2700) {
		if len(addrs) == n {
			break
		}
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+port)
		if isFree(addr) && isFree(fmt.Sprintf("127.0.0.1:%d", 30000+port)) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

func isFree(addr string) bool {
	l, err := net.Listen("tcp", addr)
	return err == nil && l.Close() == nil
}

// redisCLI runs redis-cli as the operator.
func redisCLI(t *testing.T, a *authority, args ...string) string {
	t.Helper()
	args = append([]string{"--tls", "--cacert", a.ca, "--cert", a.cert, "--key", a.key, "--user", "operator", "--no-auth-warning"}, args...)
	cmd := exec.CommandContext(t.Context(), "redis-cli", args...)
	cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+operatorPassword)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// denied is what the server has refused its users: "" when nothing was.
func (m *member) denied() string {
	entries, err := m.client.Do(m.t.Context(), "acl", "log").Slice()
	if err != nil {
		m.t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, fmt.Sprint(e))
	}
	return strings.Join(all, "\n")
}

// noneDenied wants servers to have refused their users nothing. What a server knows
// of that ends with its process.
func noneDenied(t *testing.T, members ...*member) {
	t.Helper()
	for _, m := range members {
		if refused := m.denied(); refused != "" {
			t.Errorf("the fleet's user may not, at %s: %s", m.addr, refused)
		}
	}
}
