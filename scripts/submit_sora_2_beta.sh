#!/bin/sh
# Sends one sora-2-beta payload to PoYo, once, after asking you. All options: --help.
set -eu
exec sh "$(dirname -- "$0")/submit.sh" --gateway poyo --model sora-2-beta "$@"
