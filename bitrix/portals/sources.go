// The order in which a portal's credentials came, told by their fingerprints:
// what is older than the stored ones does not replace them. Fingerprints need no
// key, and hold when nothing opens any more.

package portals

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"botfleet/bitrix"
)

// mostEarlier bounds the sources that a record keeps of each side: of what came
// before its credentials, and of what came after.
const mostEarlier = 8

// source is the fingerprint of credentials as they were brought, refresh token
// included.
func source(access bitrix.Access, refresh bitrix.Secret) string {
	sum := sha256.Sum256([]byte(access.Fingerprint() + "\x00" + refresh.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// brought says whether credentials with this source were imported or installed
// before: what is stored is those, what they became by refreshing, or newer.
func (rec *record) brought(source string) bool {
	return source == rec.Source || source == rec.InstallSource || slices.Contains(rec.Earlier, source)
}

// replaced notes the sources of the tokens that credentials with another source
// take the place of. A webhook does not end with that: it may come back. Of what
// came after the replaced ones, all counts as older that the new ones followed.
func (rec *record) replaced(was *record, by string) {
	passed := was.Later
	rec.Later = nil
	if at := slices.Index(was.Later, by); at >= 0 {
		passed, rec.Later = was.Later[:at], was.Later[at+1:]
	}
	var older []string
	if was.Kind == OAuth {
		older = append(older, was.Source, was.InstallSource)
	}
	all := newest(was.Earlier, append(older, passed...)...)
	rec.Earlier = slices.DeleteFunc(all, func(s string) bool { return s == by }) // an install may bring it anew
}

// restored notes that credentials that were brought before are stored again, as
// the present ones do not open. Those that had followed them may follow again.
func (rec *record) restored(was *record, source string) {
	at := slices.Index(was.Earlier, source)
	if at < 0 && source == was.InstallSource {
		return // nothing had followed
	}
	var followed []string
	if at >= 0 {
		rec.Earlier, followed = was.Earlier[:at], was.Earlier[at+1:]
	}
	for _, s := range []string{was.Source, was.InstallSource} {
		if s != source && !slices.Contains(rec.Earlier, s) {
			followed = newest(followed, s)
		}
	}
	rec.Later = newest(followed, was.Later...)
	if rec.Source = source; was.InstallSource != source {
		rec.InstallSource = ""
	}
}

// newest is what sources are after more have come, without any twice: the last
// of them.
func newest(sources []string, more ...string) []string {
	all := slices.Clone(sources)
	for _, s := range more {
		if s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all[max(0, len(all)-mostEarlier):]
}
