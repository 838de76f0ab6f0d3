// An install: from what was kept to a stored portal with its bots on their way.

package onboard

import (
	"context"
	"errors"
	"fmt"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// install works on an ONAPPINSTALL. Each step may have been done before.
func (s *Service) install(ctx context.Context, e event) (outcome string, err error) {
	in, err := s.claim(e)
	if err != nil {
		return "", err
	}
	stored, err := s.stored(ctx, in)
	if err != nil {
		return "", err
	}
	var p proof
	if !stored {
		// What will be refused is not even asked about.
		if err := s.cfg.Registry.MayInstall(ctx, in); err != nil {
			return "", asRefusal(err, adviceRemove(e))
		}
		if p, err = s.prove(ctx, in.Access); err != nil {
			return "", err
		}
	}
	done, err := s.cfg.Registry.Install(ctx, in)
	if err != nil {
		return "", asRefusal(err, adviceRemove(e))
	}
	outcome = OutcomeInstalled
	if p.useless != "" {
		outcome = OutcomeHeld
		_, err := s.cfg.Registry.HoldCredential(ctx, done.Portal.ID, done.Portal.Credential, p.useless, s.now())
		if err != nil {
			return "", err
		}
	}
	return outcome, s.submit(ctx, done)
}

// claim is what an event says, checked as far as it can be without asking anyone.
func (s *Service) claim(e event) (portals.Install, error) {
	endpoint := e.endpoint
	if endpoint == "" {
		endpoint = e.domain
	}
	a, err := bitrix.NewOAuth(endpoint, e.access.Reveal())
	if err != nil {
		return portals.Install{}, &refusal{"its " + err.Error(), adviceNobody}
	}
	if !sameHost(a, e.domain) {
		return portals.Install{}, &refusal{
			fmt.Sprintf("its client_endpoint is on %s, and not on the domain that it names", a.Host()), adviceNobody}
	}
	if err := s.cfg.Endpoints.Check(a.Scheme(), a.Host()); err != nil {
		return portals.Install{}, &refusal{"its address may not be called: " + err.Error(),
			"if it is a portal of your own network, list it in ALLOW_INSECURE_PORTALS and have the application installed again"}
	}
	return portals.Install{MemberID: e.member, Access: a, Refresh: e.refresh, AppToken: e.app}, nil
}

// sameHost compares an endpoint's host with a domain, which has no scheme: a
// portal on http says its port 80 or leaves it out.
func sameHost(a bitrix.Access, domain string) bool {
	return a.Host() == domain || a.Scheme() == "http" && a.Host()+":80" == domain
}

// stored says whether the portal has these very credentials already: an earlier
// try has proved and stored them, and perhaps not come further.
func (s *Service) stored(ctx context.Context, in portals.Install) (bool, error) {
	p, err := s.cfg.Registry.Find(ctx, in.MemberID)
	switch {
	case errors.Is(err, portals.ErrUnknown), errors.Is(err, portals.ErrSealed): // a new install brings what opens
		return false, nil
	case err != nil:
		return false, err
	}
	return p.Installed && p.Gone == nil && p.Credential == in.Access.Fingerprint(), nil
}

// adviceRemove is for what the registry refuses.
func adviceRemove(e event) string {
	return "nothing if nobody misses it: it may be a stranger's. If the customer says that the application was installed anew, and the uninstall was lost, " +
		"remove the portal that is known by its member_id (enqueue portals remove " + e.member + ") and have it installed once more"
}
