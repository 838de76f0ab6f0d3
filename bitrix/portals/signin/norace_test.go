//go:build !race

package signin

const callsEach = 20 // see race_test.go
