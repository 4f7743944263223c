#!/bin/sh
# Sends one sora-2-pro-preview payload to EvoLink, once, after asking you. All options: --help.
set -eu
exec sh "$(dirname -- "$0")/submit.sh" --gateway evolink --model sora-2-pro-preview "$@"
