package redisconn_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

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

// testPair is the certificate that httptest brings, for 127.0.0.1 and example.com,
// which is its own authority.
func testPair(t *testing.T) (cert, key string) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	der, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile(t, "CERTIFICATE", s.Certificate().Raw), pemFile(t, "PRIVATE KEY", der)
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
