// TLS to Redis: whom to trust, and who we are.

package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// certificates is what a URL says of TLS beside that it is wanted.
type certificates struct {
	ca         string // file of the authorities to trust instead of the system's
	cert, key  string // files of the certificate that the server asks for
	serverName string // on the server's certificate, where it is not the host dialled
	skipVerify bool

	roots *x509.CertPool // of ca; nil: the system's
}

// maxPEM bounds the files, which hold a few certificates.
const maxPEM = 1 << 20

// read opens the files, so that what is wrong with them is said at once.
func (c *certificates) read() error {
	if c.ca != "" {
		text, err := readPEM("ca", c.ca)
		if err != nil {
			return err
		}
		if c.roots = x509.NewCertPool(); !c.roots.AppendCertsFromPEM(text) {
			return errors.New("the file of ca holds no certificate (PEM)")
		}
	}
	if (c.cert == "") != (c.key == "") {
		return errors.New("cert and key go together: one is missing")
	}
	if c.cert == "" {
		return nil
	}
	_, err := c.pair()
	return err
}

// pair reads the certificate and its key.
func (c *certificates) pair() (*tls.Certificate, error) {
	cert, err := readPEM("cert", c.cert)
	if err != nil {
		return nil, err
	}
	key, err := readPEM("key", c.key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the files of cert and key are not a certificate and its key (PEM): %w", err)
	}
	return &pair, nil
}

// readPEM reads a file that a parameter names. What is no plain file, or is
// large, is not read: a pipe would stop the start without a word.
func readPEM(name, path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxPEM) {
		return nil, fmt.Errorf("the file of %s is not a file of certificates", name)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	// The path is left out: whoever mistook a name for another has a password there.
	if why, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("the file of %s cannot be read: %w", name, why.Err)
	}
	return text, err
}

// config is for the clients. The server name, unless it is given, is the host
// dialled, which differs from node to node.
func (c *certificates) config() *tls.Config {
	t := &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: c.roots, ServerName: c.serverName,
		InsecureSkipVerify: c.skipVerify, //nolint:gosec // asked for by skip_verify=true
	}
	if c.cert != "" {
		// Read anew for each connection, as certificates are renewed while a worker runs.
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.pair() }
	}
	return t
}
