#!/bin/sh
# Writes .env beside compose.yaml, with passwords and a key made for this machine.
# It never overwrites one: without its SECRETS_KEY the credentials in Redis are lost.
set -eu
cd "$(dirname "$0")"
umask 077

if [ -e .env ]; then
	echo "env.sh: .env is there already, and stays as it is" >&2
	exit 1
fi

# Commands in containers are to read and write files in data, and root they are not.
run_as=$(id -u):$(id -g)
[ "$(id -u)" -ne 0 ] || run_as=65532:65532

random() { head -c "$1" /dev/urandom | "$2" | tr -d '\n '; }
hex() { od -An -v -tx1; }

template=$(cat .env.example)
{
	printf '%s\n' "$template" | grep -vE '^(SECRETS_KEY|REDIS_PASSWORD|DASHBOARD_PASSWORD|GRAFANA_PASSWORD|RUN_AS)='
	echo "SECRETS_KEY=$(random 32 base64)"
	echo "REDIS_PASSWORD=$(random 24 hex)"
	echo "DASHBOARD_PASSWORD=$(random 12 hex)"
	echo "GRAFANA_PASSWORD=$(random 12 hex)"
	echo "RUN_AS=$run_as"
} >.env.new
mv .env.new .env
mkdir -p data
[ "$(id -u)" -ne 0 ] || chown "$run_as" data
echo "env.sh: .env is written; keep its SECRETS_KEY" >&2
