// Package e2e holds tests only: the built commands, as processes, against
// portals in a box over real HTTP on loopback and a real redis-server.
package e2e
