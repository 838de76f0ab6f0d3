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

// silentProver never answers.
type silentProver struct{}

func (silentProver) Bots(context.Context, bitrix.Access, string) ([]bitrix.ListedBot, bitrix.Time, error) {
	return nil, bitrix.Time{}, &bitrix.Error{Class: bitrix.Ambiguous, Code: bitrix.CodeTimeout}
}
