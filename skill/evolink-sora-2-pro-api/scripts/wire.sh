#!/bin/sh
# What the scripts beside this one share: ends, gateways, keys, addresses, one request. They read it in.
# shellcheck disable=SC2034,SC2154 # they bring some of the names, and use others

{ set +x; } 2>/dev/null # a trace would show the key
set -eu
LC_ALL=C
export LC_ALL
umask 077
unset key # else the key would be exported again where somebody exports a variable of that name

newline='
'

# Words on standard error; what somebody else wrote into them cannot steer the terminal.
say() {
	case "$*" in
	*[!\ -~]*) printf '%s\n' "$*" | visible '' >&2 ;;
	*) printf '%s\n' "$*" >&2 ;;
	esac
}

# stop EXIT WORDS...: the words on standard error, and that exit code.
stop() {
	ends_with=$1
	shift
	say "$*"
	exit "$ends_with"
}

refuse() { stop "$@" "Nothing was sent."; }

# Facts of a gateway. Its key leaves the environment here, so that no program started later inherits it.
know_gateway() {
	case $gateway in
	evolink)
		title=EvoLink origin=https://api.evolink.ai models='sora-2-pro-preview'
		submit_path="/v1/videos/generations" status_path="/v1/tasks/${task:-}"
		key_name=EVOLINK_API_KEY key_page=https://evolink.ai/dashboard/keys key=${EVOLINK_API_KEY:-}
		unset EVOLINK_API_KEY
		model_in=body id_name=id
		state_name=status link_name=results
		case $model in
		sora-2-pro-preview)
			price='unknown (undated). EvoLink'"'"'s price was not found; 1080p is 1.667 times 720p, and longer clips cost more. Two third parties disagree: 0.240 USD per second; 0.444 USD (720p) and 0.741 USD (1080p) for 4 s.'
			kept='24 hours' every=15 ;;
		esac
		;;
  *) stop 2 "Unknown gateway: $gateway. Known: evolink." ;;
	esac
	case " $models " in
	*" $model "*) ;;
	*) stop 2 "$title has no model '$model' here. Known: $models." ;;
	esac
}

# Only loopback may stand in for a gateway: the key goes there.
choose_address() {
	if [ -n "$base_url" ]; then
		case $base_url in *[!!-~]*) stop 2 "--base-url holds a character that no address has." ;; esac
		printf '%s\n' "$base_url" |
			grep -Eqx 'http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}(/[A-Za-z0-9_-]+)?' ||
			stop 2 "--base-url takes a loopback address alone, such as http://127.0.0.1:8799/$gateway."
		origin=$base_url
		protocol='=http'
	else
		protocol='=https'
	fi
}

check_tools() {
	command -v curl >/dev/null || stop 2 "curl is needed and is not there."
	# As a program of its own, printf would be given the key as an argument, which everyone can read.
	[ "$(command -v printf)" = printf ] || stop 2 "This shell has no printf of its own. Use dash, bash or busybox sh."
}

check_key() {
	case $key in
	'' | "\${"*) stop 5 "$key_name is not set. Nothing was sent. Make a key at $key_page." ;;
	*[!!-~]*) refuse 5 "$key_name holds a space, a line break or a character that no key has." ;;
	*[\"\'\\]*) refuse 5 "$key_name holds a quote or a backslash." ;;
	esac
	[ "${#key}" -ge 8 ] || refuse 5 "$key_name is too short to be a key."
}

# request CURL-ARGUMENTS...: one request, no redirect, no retry; the reply in $work/reply, HTTP status and bytes sent on
# standard output. The key goes to curl on standard input. -q comes first: a .curlrc could trace the key or retry. The
# environment is empty: a proxy, an authority or a log of TLS secrets named there would give the key away.
request() {
	if [ -n "$base_url" ]; then
		set -- --noproxy '*' "$@"
	else
		set -- --tlsv1.2 "$@"
	fi
	set -- curl -q --config - --silent --show-error --http1.1 --proto "$protocol" --max-redirs 0 \
		--connect-timeout 10 --max-filesize 1048576 --header 'Expect:' --header 'Accept: application/json' \
		--output "$work/reply" --write-out '%{http_code} %{size_request}' "$@"
	[ "$environment" = yes ] || set -- env -i "PATH=$PATH" "$@"
	: >"$work/reply"
	printf 'header = "Authorization: Bearer %s"\n' "$key" | "$@" 2>"$work/problem" || return $?
	if [ "$(wc -c <"$work/reply")" -gt 1048576 ]; then
		echo "The answer is larger than 1 MB." >"$work/problem"
		return 63
	fi
}
