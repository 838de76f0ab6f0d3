// Package check tests what is deployed, without a container engine: the Dockerfile,
// the compose file, the manifests, the systemd unit, and that what the image holds runs.
//
// It is a module of its own, as none of what it needs belongs into the commands.
package check
