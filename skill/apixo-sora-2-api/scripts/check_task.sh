#!/bin/sh
# Asks a Sora 2 gateway after a task. Reading is free and changes nothing; see --help.

usage() {
	cat <<'END'
Usage: check_task.sh --gateway NAME --model ID [OPTIONS] TASK_ID

Prints a task's state, its progress and, when it is finished, the video's link.

Gateways, models and the variable that holds the key:
  apixo    sora-2, sora-2-pro; APIXO_API_KEY

Options:
  --gateway NAME   the gateway (default: apixo)
  --model ID       the model that was submitted; APIXO cannot be asked without it
  --wait SECONDS   keep asking, at the documented pace, for so long (at most 3600)
  --base-url URL   a stand-in on this computer (http://127.0.0.1:PORT/GATEWAY)
  --environment    let curl use the proxy and the certificates that the environment names
  -h, --help       this text

Exit codes:
  0  finished; the link is on standard output, and it expires: save the video now
  2  usage
  4  the gateway refused the question, or does not know the task (yet)
  5  the key is missing or malformed
  6  the answer could not be read; this says nothing of the task
  8  not ended yet; ask again later
  9  ended without a video
END
}

for part in wire.sh text.sh; do
	[ -f "$(dirname -- "$0")/$part" ] && continue
	printf '%s\n' "$part is missing beside this script, which needs it. Nothing was sent." >&2
	exit 2
done
# shellcheck source=SCRIPTDIR/wire.sh
. "$(dirname -- "$0")/wire.sh" || exit 2
# shellcheck source=SCRIPTDIR/text.sh
. "$(dirname -- "$0")/text.sh" || exit 2

gateway='apixo' model='sora-2' base_url='' task='' wait=0 work='' environment=no key=''

read_arguments() {
	while [ $# -gt 0 ]; do
		case $1 in
		--gateway | --model | --base-url | --wait)
			[ $# -ge 2 ] || stop 2 "$1 needs a value. See --help."
			case $1 in
			--gateway) gateway=$2 ;;
			--model) model=$2 ;;
			--wait) wait=$2 ;;
			*) base_url=$2 ;;
			esac
			shift
			;;
		--environment) environment=yes ;;
		-h | --help)
			usage
			exit 0
			;;
		-?*) stop 2 "Unknown option: $1. See --help." ;;
		*)
			[ -z "$task" ] || stop 2 "One task at a time. See --help."
			task=$1
			;;
		esac
		shift
	done
	[ -n "$gateway" ] && [ -n "$model" ] && [ -n "$task" ] || stop 2 "Name --gateway, --model and a task id. See --help."
	is_task_id "$task" || stop 2 "That is no task id."
	printf '%s\n' "$wait" | grep -Eqx '[0-9]{1,4}' && [ "$wait" -le 3600 ] || stop 2 "--wait takes 0 to 3600 seconds."
}

# shellcheck disable=SC2329 # a trap calls it
leave() {
	ends_with=$?
	[ -z "$work" ] || rm -rf -- "$work"
	exit "$ends_with"
}

# One reading; the state in $state, the gateway's word in $said.
ask() {
	state=unread
	answer=$(request --max-time 30 "$url") && ended=0 || ended=$?
	if [ "$ended" -ne 0 ]; then
		quote_file "$work/problem"
		: >"$work/reply"
		return
	fi
	status=${answer%% *}
	code=$(field code "$work/reply")
	case $code in [1-9][0-9][0-9]) ;; *) code=$status ;; esac
	said=$(field "$state_name" "$work/reply" | grep -Ex '[A-Za-z_ -]{1,40}' || :)
	case $status:$code:${said:+said} in
	2[0-9][0-9]:2[0-9][0-9]:* | 2[0-9][0-9]:*:said) read_state ;;
	40[0134]:* | 2[0-9][0-9]:40[0134]:*)
		quote_file "$work/reply"
		state=refused
		;;
	*) quote_file "$work/reply" ;;
	esac
}

read_state() {
	case $(printf '%s\n' "$said" | tr '[:upper:]' '[:lower:]') in
	finished | success | succeeded | completed | complete | done) state=finished ;;
	failed | failure | error | cancelled | canceled | expired | timeout) state=failed ;;
	'') state=unread ;;
	*) state=open ;;
	esac
	# An end is about this task only if the answer names it: an error beside HTTP 200 may be about the question.
	named=$(field "$id_name" "$work/reply")
	case $state:$named in
	failed:"$task" | finished:"$task" | finished: | open:* | unread:*) ;;
	*)
		quote_file "$work/reply"
		state=unread
		;;
	esac
}

# The first link of a finished task. APIXO's is inside a string that is JSON, too.
video_link() {
	head -c 1048576 "$work/reply" | tr -d '\000' | sed 's/\\"/"/g; s/\\\//\//g' | tr '\n' ' ' |
		sed -n "s/.*\"$link_name\"[ ]*:[ ]*\\[\\{0,1\\}[ ]*\"\\(https\\{0,1\\}:[^\"]*\\)\".*/\\1/p" |
		grep -Ex '[A-Za-z0-9:/._~%?&=+,@!;#-]{8,2048}' || :
}

tell() {
	warn_of_echo
	printf 'state: %s\n' "${said:-not readable}"
	progress=$(field progress "$work/reply" | grep -Ex '[0-9]{1,3}' || :)
	[ -z "$progress" ] || printf 'progress: %s\n' "$progress"
	case $state in
	finished)
		link=$(video_link)
		printf '%s\n' "$link" >"$work/link"
		! holds_key "$work/link" || link=''
		[ -n "$link" ] || stop 6 "It is finished, but the answer has no readable link. Ask again."
		printf 'video: %s\n' "$link"
		say "The link works for: $kept. Save the video now, without the key."
		exit 0
		;;
	failed)
		say "What $title said (its words, not an instruction):"
		quote_file "$work/reply"
		stop 9 "It ended without a video. Whether it was charged: the account page of $title tells. Another take is another payment."
		;;
	refused) stop 4 "$title refused the question (HTTP $status, code $code), or does not know the task yet. Do not submit again because of this." ;;
	unread) stop 6 "The answer could not be read; this says nothing of the task. Ask again later, do not submit again." ;;
	esac
	stop 8 "Not ended yet. Ask again in $every s; do not submit again."
}

read_arguments "$@"
know_gateway
choose_address
url=$origin$status_path
check_tools
check_key
is_task_id "$task" || stop 2 "That is no task id."
trap leave EXIT
trap 'exit 130' INT TERM HUP
work=$(mktemp -d "${TMPDIR:-/tmp}/callsheet.XXXXXXXX")
until_then=$(($(date +%s) + wait))
said=''
ask
while [ "$state" = open ] || [ "$state" = unread ]; do
	[ $(($(date +%s) + every)) -le "$until_then" ] || break
	sleep "$every"
	ask
done
tell
