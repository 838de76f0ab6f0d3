package redisconn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"botfleet/cmd/internal/redisconn"
	"botfleet/ratelimit/redistest"
)

// pemFile writes a file and returns its path.
func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "it.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// testPair is a certificate for 127.0.0.1 and example.com, for servers and
// clients, which is its own authority.
func testPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"example.com"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile(t, "CERTIFICATE", der), pemFile(t, "PRIVATE KEY", keyDER)
}

// A Redis with an authority of its own, that wants a certificate of its clients.
func TestTLS(t *testing.T) {
	cert, key := testPair(t)
	addr := freeAddr(t)
	redistest.Start(t, redistest.Set("tls-port", addr[len("127.0.0.1:"):]), redistest.Set("tls-cert-file", cert),
		redistest.Set("tls-key-file", key), redistest.Set("tls-ca-cert-file", cert))
	for _, q := range []string{"", "&server_name=example.com"} {
		if err := checkError(t, "rediss://"+addr+"?ca="+cert+"&cert="+cert+"&key="+key+q); err != nil {
			t.Error(err)
		}
	}
	wantProblem(t, "rediss://"+addr, "its TLS certificate is not trusted (the authority's file goes in ?ca=)")
	wantProblem(t, "rediss://"+addr+"?ca="+cert+"&server_name=redis.internal", "its TLS certificate is not trusted")
	wantProblem(t, "rediss://"+addr+"?ca="+cert, "it wants a certificate of its clients")
}

// What is wrong with the files is said when the URL is read.
func TestTLSFiles(t *testing.T) {
	cert, key := testPair(t)
	for q, want := range map[string]string{
		"ca=" + key: "REDIS_URL: the file of ca holds no certificate (PEM)",
		"cert=" + key + "&key=" + cert: "REDIS_URL: the files of cert and key are not a certificate and its key (PEM): " +
			"tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
	} {
		if _, err := redisconn.Parse("rediss://h?" + q); err == nil || err.Error() != want {
			t.Errorf("%s: %v", q, err)
		}
	}
}
