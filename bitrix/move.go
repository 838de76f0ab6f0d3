// Whether a portal's credentials may follow it to another address.

package bitrix

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// cloudZones are the domains under which Bitrix24 gives portals their names.
// Bitrix24 publishes no list: these are the zones that its own published
// modules link to (im: V2/Application/Config.php; landing; disk; sign), and ae,
// which portals' public addresses show. Left out are ua, which old help pages
// name and which is in use no more, and the domains of services and sites
// (tech, net, site): credentials must not follow where a stranger may get a
// name. For a zone that is missing, an operator lists the portal's host. Read
// only.
var cloudZones = []string{
	"bitrix24.ae", "bitrix24.by", "bitrix24.cn", "bitrix24.co", "bitrix24.com",
	"bitrix24.com.br", "bitrix24.com.tr", "bitrix24.de", "bitrix24.es",
	"bitrix24.eu", "bitrix24.fr", "bitrix24.id", "bitrix24.in", "bitrix24.it",
	"bitrix24.jp", "bitrix24.kz", "bitrix24.mx", "bitrix24.pl", "bitrix24.ru",
	"bitrix24.uk", "bitrix24.uz", "bitrix24.vn",
}

// cloudServices are names in those zones that are Bitrix24's own sites. A
// portal that was deleted may redirect there; it has not moved there.
var cloudServices = []string{"www", "cdn", "helpdesk", "sign", "status"}

// CheckMove says whether a portal's credentials may follow it from where they
// are used to another place, "scheme://host" ([Error.Location], or the scheme
// and host of an [Access] made of a client_endpoint); nil means yes. A path is
// not looked at.
//
// They never go from https to http, and only where [Endpoints.Check] allows:
// to a portal's name in one of Bitrix24's cloud zones, or to a host or address
// that the operator listed (to any with "true"). Staying in place is no move.
func (e Endpoints) CheckMove(from Access, to string) error {
	scheme, host, _, err := splitAddress(to)
	if err != nil {
		return fmt.Errorf("the new address %w", err)
	}
	if from.IsZero() {
		return errors.New("no credentials to take elsewhere")
	}
	if err := e.Check(scheme, host); err != nil {
		return err
	}
	switch {
	case scheme+"://"+host == from.place():
		return nil
	case from.Scheme() == "https" && scheme != "https":
		return fmt.Errorf("credentials used by https do not go to %s by http", host)
	case e.lists(scheme, host), cloudPortal(host):
		return nil
	}
	return fmt.Errorf("%s is neither a Bitrix24 cloud portal nor a host that is allowed by name", host)
}

// lists reports whether the operator listed the host, or the network that it
// is an address of.
func (e Endpoints) lists(scheme, host string) bool {
	name, port, err := splitHost(host)
	if err != nil {
		return false
	}
	return e.allowsName(name, firstOf(port, defaultPort(scheme))) || e.allowsLiteral(name)
}

// cloudPortal reports whether host, as [normalHost] writes it, is NAME.ZONE
// with a cloud zone and the name of a portal.
func cloudPortal(host string) bool {
	name, zone, _ := strings.Cut(host, ".")
	switch {
	case !slices.Contains(cloudZones, zone), slices.Contains(cloudServices, name):
		return false
	case name == "", len(name) > 63, strings.HasPrefix(name, "-"), strings.HasSuffix(name, "-"):
		return false
	}
	return !strings.Contains(name, "_")
}
