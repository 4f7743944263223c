#!/bin/sh
# Sends one sora-2 payload to APIXO, once, after asking you. All options: --help.
set -eu
exec sh "$(dirname -- "$0")/submit.sh" --gateway apixo --model sora-2 "$@"
