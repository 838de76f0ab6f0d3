// A worker's memory with a thousand calls on their way.

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"botfleet/bitrix/sandbox"
)

const (
	mostWorkerMemory = 150 // MB
	memoryCalls      = 1000
	// memoryPortals times rowsEach fill every slot of a worker: its queues are
	// not exactly of one length.
	memoryPortals = 400
	rowsEach      = 4
	// memoryLatency is long enough for all slots to be filled before the first
	// answer comes.
	memoryLatency = 8 * time.Second
)

// memory measures a worker process, once with portals over HTTP and once over
// HTTPS, where each call has a TLS connection of its own.
func (b *bench) memory(ctx context.Context) ([]figure, error) {
	worker, err := b.build(ctx, "worker")
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, scheme := range []string{"http", "https"} {
		b.sayf("worker with %d calls on their way over %s", memoryCalls, scheme)
		peak, calls, err := b.workerPeak(ctx, worker, scheme)
		if err != nil {
			return nil, fmt.Errorf("over %s: %w", scheme, err)
		}
		more := fmt.Sprintf(" peak of resident memory (%d calls on their way to %d portals)", calls, memoryPortals)
		figures = append(figures, memoryFigure("worker, calls over "+scheme, more, peak, mostWorkerMemory))
	}
	return figures, nil
}

// workerPeak runs a worker on portals that let it wait.
func (b *bench) workerPeak(ctx context.Context, worker, scheme string) (peak int64, calls int, err error) {
	if err := b.redis.empty(ctx); err != nil {
		return 0, 0, err
	}
	box := sandbox.New()
	defer box.Close()
	slow, err := b.startSlow(box, scheme)
	if err != nil {
		return 0, 0, err
	}
	defer slow.close()
	w, err := newWorkload(slow.webhooks, memoryPortals*rowsEach)
	if err != nil {
		return 0, 0, err
	}
	base, cfg, err := b.open(ctx, w)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = base.Close() }()
	if err := w.submit(ctx, base, cfg); err != nil {
		return 0, 0, err
	}
	queues, err := base.Registry.Queues(ctx)
	if err != nil {
		return 0, 0, err
	}
	p, err := start(ctx, b.environment(cfg.SecretsKey, "SSL_CERT_FILE="+slow.authority, "LOG_LEVEL=warn"), worker)
	if err != nil {
		return 0, 0, err
	}
	err = b.redis.awaitCompleted(ctx, queues, len(w.rows))
	if stopErr := p.stop(); stopErr != nil {
		return 0, 0, stopErr
	}
	if err != nil {
		return 0, 0, err
	}
	if calls = box.MaxConcurrent(); calls < memoryCalls {
		return 0, 0, fmt.Errorf("only %d calls were on their way at once", calls)
	}
	return p.peak, calls, checkRegistered(ctx, base, w, int64(box.Stats().BotsCreated))
}

// slowPortals are a sandbox's portals, each on a port of its own.
type slowPortals struct {
	server    http.Server
	serving   sync.WaitGroup
	webhooks  []string
	authority string // file with the certificate of the authority they are signed by
}

// startSlow adds portals to a sandbox and serves them by a scheme.
func (b *bench) startSlow(box *sandbox.Sandbox, scheme string) (*slowPortals, error) {
	s := &slowPortals{}
	s.server = http.Server{Handler: box, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	if err := s.certify(filepath.Join(b.dir, "authority.pem")); err != nil {
		return nil, err
	}
	for range memoryPortals {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.close()
			return nil, fmt.Errorf("start a portal: %w", err)
		}
		host := l.Addr().String()
		p := sandbox.Unlimited(host)
		p.Latency = memoryLatency
		box.AddPortal(p)
		s.webhooks = append(s.webhooks, scheme+"://"+host+"/rest/1/benchbenchbench1/")
		if scheme == "https" {
			// HTTP/1.1 alone: a connection for each call is the most memory.
			l = tls.NewListener(l, s.server.TLSConfig)
		}
		s.serving.Go(func() { _ = s.server.Serve(l) }) // ends with close
	}
	return s, nil
}

func (s *slowPortals) close() {
	_ = s.server.Close()
	s.serving.Wait()
}

// certify makes a certificate for 127.0.0.1 that is its own authority.
func (s *slowPortals) certify(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "botfleet bench"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	s.server.TLSConfig = &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	s.authority = file
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("keep a certificate: %w", err)
	}
	return nil
}
