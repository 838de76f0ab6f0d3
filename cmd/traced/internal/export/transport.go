// The variables of the way to the collector: certificates, compression, and whether
// it is encrypted at all. The library goes on without those that it cannot read.

package export

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// forAll and forTraces begin the names of these variables; the second wins.
const (
	forAll    = "OTEL_EXPORTER_OTLP_"
	forTraces = "OTEL_EXPORTER_OTLP_TRACES_"
)

// bare reports whether nothing says how the collector is reached. It is then on
// this machine, by plain HTTP, as the standard has it: the library would try TLS.
func bare(get func(string) string) bool {
	for _, name := range []string{forAll, forTraces} {
		if get(name+"ENDPOINT") != "" || get(name+"INSECURE") != "" {
			return false
		}
	}
	return true
}

// plain reports whether traces go out unencrypted, as the library decides it.
func plain(get func(string) string) bool {
	is := bare(get)
	for _, name := range []string{forAll, forTraces} {
		if to := get(name + "ENDPOINT"); to != "" {
			is = strings.HasPrefix(strings.ToLower(to), "http:")
		}
	}
	for _, name := range []string{forAll, forTraces} {
		if insecure := get(name + "INSECURE"); insecure != "" {
			is = strings.EqualFold(insecure, "true")
		}
	}
	return is
}

// checkTransport is all that is wrong with the variables for everything, or with
// those for traces, as their names begin.
func checkTransport(get func(string) string, begin string) error {
	var bad []error
	if c := get(begin + "COMPRESSION"); c != "" && c != "gzip" && c != "none" {
		bad = append(bad, fmt.Errorf("%sCOMPRESSION: needed is gzip or none", begin))
	}
	bad = append(bad, checkBool(begin+"INSECURE", get(begin+"INSECURE")), checkNumber(begin+"TIMEOUT", get(begin+"TIMEOUT")))
	certificate := begin + "CERTIFICATE"
	if path := get(certificate); path != "" {
		text, err := readFile(certificate, path)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
			err = fmt.Errorf("%s: there is no certificate in the file; needed is PEM", certificate)
		}
		bad = append(bad, err, checkEncrypted(get, certificate))
	}
	return errors.Join(append(bad, checkClient(get, begin))...)
}

// checkClient checks the certificate that the collector knows this process by.
func checkClient(get func(string) string, begin string) error {
	certificate, key := begin+"CLIENT_CERTIFICATE", begin+"CLIENT_KEY"
	switch {
	case get(certificate) == "" && get(key) == "":
		return nil
	case get(certificate) == "" || get(key) == "":
		return fmt.Errorf("%s and %s: one is of no use without the other", certificate, key)
	}
	public, err := readFile(certificate, get(certificate))
	if err != nil {
		return err
	}
	private, err := readFile(key, get(key))
	if err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(public, private); err != nil {
		return fmt.Errorf("%s and %s: needed are a certificate and its own key, in PEM", certificate, key)
	}
	return checkEncrypted(get, certificate)
}

func checkEncrypted(get func(string) string, name string) error {
	if plain(get) {
		return fmt.Errorf("%s: certificates need a collector with https:// in %sENDPOINT", name, forAll)
	}
	return nil
}

// readFile reads the file that a variable names, and does not repeat its path.
func readFile(name, path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		err = at.Err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: the file cannot be read: %w", name, err)
	}
	return text, nil
}
