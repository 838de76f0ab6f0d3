// An uninstall: the portal is no customer any more.

package onboard

import (
	"context"
	"errors"
	"fmt"

	"botfleet/bitrix/portals"
)

// uninstall works on an ONAPPUNINSTALL.
func (s *Service) uninstall(ctx context.Context, p *payload, e event) (outcome string, err error) {
	gone, err := s.cfg.Registry.Uninstall(ctx, e.member, e.app, p.At)
	if errors.Is(err, portals.ErrUnknown) {
		return "", &refusal{"no portal with this member_id is known", "nothing"}
	}
	if err != nil {
		return "", asRefusal(err, "nothing, unless the customer says that they have left: then enqueue portals remove "+e.member)
	}
	if s.cfg.Gone != nil {
		if err := s.cfg.Gone(ctx, gone); err != nil {
			return "", fmt.Errorf("end what waits for portal %s: %w", gone.Name, err)
		}
	}
	return OutcomeUninstalled, nil
}
