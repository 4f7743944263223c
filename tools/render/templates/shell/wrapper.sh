#!/bin/sh
# Sends one {{model}} payload to {{title}}, once, after asking you. All options: --help.
set -eu
exec sh "$(dirname -- "$0")/submit.sh" --gateway {{gateway}} --model {{model}} "$@"
