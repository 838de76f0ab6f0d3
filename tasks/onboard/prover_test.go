package onboard

import (
	"context"
	"errors"

	"botfleet/bitrix"
)

// noProver is asked nothing.
type noProver struct{}

func (noProver) Bots(context.Context, bitrix.Access, string) ([]bitrix.ListedBot, bitrix.Time, error) {
	return nil, bitrix.Time{}, errors.New("nobody should have asked")
}
