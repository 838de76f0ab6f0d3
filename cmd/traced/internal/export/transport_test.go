// The way to the collector, and what is said of variables that would bend it.

package export

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// asked is a transport that keeps where it was sent to.
type asked struct{ to string }

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	a.to = r.URL.String()
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(nil)), Request: r}, nil
}

// Without a word the collector is where the standard says, by plain HTTP.
func TestWhereTheCollectorIs(t *testing.T) {
	for _, c := range []struct{ environ, want string }{
		{"", "http://localhost:4318/v1/traces"},
		{"OTEL_EXPORTER_OTLP_INSECURE=false", "https://localhost:4318/v1/traces"},
		{"OTEL_EXPORTER_OTLP_TRACES_INSECURE=true", "http://localhost:4318/v1/traces"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=https://collector:1", "https://collector:1/v1/traces"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://collector:1/own", "https://collector:1/own"},
	} {
		t.Run(c.environ, func(t *testing.T) {
			for _, begin := range []string{forAll, forTraces} {
				t.Setenv(begin+"ENDPOINT", "")
				t.Setenv(begin+"INSECURE", "")
			}
			if name, value, ok := strings.Cut(c.environ, "="); ok {
				t.Setenv(name, value)
			}
			s, err := read([]string{c.environ})
			if err != nil {
				t.Fatal(err)
			}
			var a asked
			e, err := otlptracehttp.New(t.Context(), append(s.options(), otlptracehttp.WithHTTPClient(&http.Client{Transport: &a}))...)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.ExportSpans(t.Context(), tracetest.SpanStubs{{Name: "x"}}.Snapshots()); err != nil {
				t.Fatal(err)
			}
			if a.to != c.want || plain(func(name string) string { return lookup([]string{c.environ}, name) }) != strings.HasPrefix(c.want, "http:") {
				t.Errorf("sent to %s, want %s", a.to, c.want)
			}
		})
	}
}

// files are a certificate and its key, the key of another, and a file that is neither.
func files(t *testing.T, of *httptest.Server) (certificate, key, neither string) {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(of.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "hunter2")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: of.Certificate().Raw})),
		write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		write("neither", []byte("hunter2"))
}

func TestWhatTheLibraryWouldPassOverIsSaid(t *testing.T) {
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	certificate, key, neither := files(t, tls)
	const https = "OTEL_EXPORTER_OTLP_ENDPOINT=https://collector:4318,"
	for _, c := range []struct{ environ, says string }{
		{"OTEL_BSP_MAX_QUEUE_SIZE=20k", "OTEL_BSP_MAX_QUEUE_SIZE: needed is a whole number"},
		{"OTEL_BSP_MAX_QUEUE_SIZE=-1", "OTEL_BSP_MAX_QUEUE_SIZE: needed"},
		{"OTEL_BSP_MAX_QUEUE_SIZE=9000000000000000000", "OTEL_BSP_MAX_QUEUE_SIZE: needed"},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE=0", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: needed"},
		{"OTEL_BSP_SCHEDULE_DELAY= 50", "OTEL_BSP_SCHEDULE_DELAY: needed"},
		{"OTEL_BSP_EXPORT_TIMEOUT=1s", "OTEL_BSP_EXPORT_TIMEOUT: needed"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT=5s", "OTEL_EXPORTER_OTLP_TIMEOUT: needed"},
		{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=hunter2", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: needed"},
		{"OTEL_SPAN_LINK_COUNT_LIMIT=many", "OTEL_SPAN_LINK_COUNT_LIMIT: needed"},
		{"OTEL_SPAN_LINK_COUNT_LIMIT=-1", ""},
		{"OTEL_EXPORTER_OTLP_COMPRESSION=zstd", "OTEL_EXPORTER_OTLP_COMPRESSION: needed is gzip or none"},
		{"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=gzip", ""},
		{"OTEL_EXPORTER_OTLP_INSECURE=yes", "OTEL_EXPORTER_OTLP_INSECURE: needed is true or false"},
		{"OTEL_SDK_DISABLED=1", "OTEL_SDK_DISABLED: needed is true or false"},
		{"OTEL_EXPORTER_OTLP_HEADERS=a name=hunter2", "OTEL_EXPORTER_OTLP_HEADERS: needed are pairs"},
		{https + "OTEL_EXPORTER_OTLP_CERTIFICATE=/hunter2/ca.pem", "OTEL_EXPORTER_OTLP_CERTIFICATE: the file cannot be read: no such file"},
		{https + "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE=" + neither, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: there is no certificate"},
		{https + "OTEL_EXPORTER_OTLP_CERTIFICATE=" + certificate, ""},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE=" + certificate, "certificates need a collector with https://"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:1,OTEL_EXPORTER_OTLP_CERTIFICATE=" + certificate, "certificates need a collector with https://"},
		{https + "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + certificate, "one is of no use without the other"},
		{https + "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + certificate + ",OTEL_EXPORTER_OTLP_CLIENT_KEY=" + neither, "a certificate and its own key"},
		{https + "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + certificate + ",OTEL_EXPORTER_OTLP_CLIENT_KEY=/hunter2", "OTEL_EXPORTER_OTLP_CLIENT_KEY: the file cannot be read"},
		{https + "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + certificate + ",OTEL_EXPORTER_OTLP_CLIENT_KEY=" + key, ""},
	} {
		_, err := read(strings.Split(c.environ, ","))
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", c.environ, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%s: %v", c.environ, err)
		}
	}
}

// A collector whose certificate the operator names is reached.
func TestTracesReachACollectorByTLS(t *testing.T) {
	c := &collector{}
	c.Server = httptest.NewTLSServer(c)
	t.Cleanup(c.Close)
	certificate, _, _ := files(t, c.Server)
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate)
	log, span, end := start(t, c.URL)
	span()
	if err := end(t.Context()); err != nil || c.named()["queue row"] != 1 || log.String() != "" {
		t.Errorf("%v, %v: %s", err, c.named(), log.String())
	}
}
