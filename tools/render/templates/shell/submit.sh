#!/bin/sh
# Sends one prepared payload to a Sora 2 gateway, once. For a person at a trusted shell; see --help.

usage() {
	cat <<'END'
Usage: submit.sh --gateway NAME --model ID [OPTIONS] PAYLOAD

Sends the JSON in the file PAYLOAD (- is standard input) to a gateway, one time, and prints the task id.
This spends money. `callsheet submit` does it with caps, a record and a watcher that saves the clip; this
script has none of these, and is for a trusted shell where the program is not wanted.

Gateways, models and the variable that holds the key:
{{usage}}

Options:
  --gateway NAME   the gateway
  --model ID       its model
  --dry-run        show the request and stop; needs no key, sends nothing
  --environment    let curl use the proxy and the certificates that the environment names
  --base-url URL   a stand-in on this computer (http://127.0.0.1:PORT/GATEWAY)
  -h, --help       this text

The payload is checked by `callsheet explain` first, when that program is there. Then you are shown what
is sent and type PAY on the terminal; no option replaces that. The policy in your home must say "live";
its caps are not checked here. The key is read from the environment and given to curl on standard input; it
is in no argument, file or message. Nothing is ever sent twice.

Exit codes:
  0  accepted; standard output has the task id and the next command
  2  usage, or a payload that breaks a rule; nothing was sent
  3  not confirmed, or not allowed by the policy; nothing was sent
  4  the gateway refused it: nothing was accepted
  5  the key is missing or malformed; nothing was sent
  6  no connection: curl sent no byte of the request
  7  the outcome is unknown: it may have been accepted and charged. Do not run it again; look at the
     gateway's own task list first

Examples:
  {{first_wrapper}} --dry-run payload.json
  {{first_wrapper}} payload.json
END
}

for part in wire.sh text.sh payload.sh; do
	[ -f "$(dirname -- "$0")/$part" ] && continue
	printf '%s\n' "$part is missing beside this script, which needs it. Nothing was sent." >&2
	exit 2
done
# shellcheck source=SCRIPTDIR/wire.sh
. "$(dirname -- "$0")/wire.sh" || exit 2
# shellcheck source=SCRIPTDIR/text.sh
. "$(dirname -- "$0")/text.sh" || exit 2
# shellcheck source=SCRIPTDIR/payload.sh
. "$(dirname -- "$0")/payload.sh" || exit 2

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
gateway='' model='' base_url='' payload='' environment=no dry=no sending=no work='' reason='the script broke off'

read_arguments() {
	while [ $# -gt 0 ]; do
		case $1 in
		--gateway | --model | --base-url)
			[ $# -ge 2 ] || stop 2 "$1 needs a value. See --help."
			case $1 in
			--gateway) gateway=$2 ;;
			--model) model=$2 ;;
			*) base_url=$2 ;;
			esac
			shift
			;;
		--environment) environment=yes ;;
		--dry-run) dry=yes ;;
		-h | --help)
			usage
			exit 0
			;;
		-?*) stop 2 "Unknown option: $1. See --help." ;;
		*)
			[ -z "$payload" ] || stop 2 "One payload at a time. See --help."
			payload=$1
			;;
		esac
		shift
	done
	[ -n "$gateway" ] && [ -n "$model" ] && [ -n "$payload" ] || stop 2 "Name --gateway, --model and a payload. See --help."
}

# Once something may have been sent, only these ends are true: accepted, refused, no byte sent. All others are unknown.
# shellcheck disable=SC2329 # a trap calls it
leave() {
	ends_with=$?
	[ -z "$work" ] || rm -rf -- "$work"
	case $sending:$ends_with in
	no:* | yes:[046]) exit "$ends_with" ;;
	esac
	say "OUTCOME UNKNOWN: $reason. It may have been accepted and charged."
	say "Do not run this again before you have looked at the task list of $title."
	exit 7
}

# shellcheck disable=SC2329 # a trap calls it
interrupted() {
	[ "$sending" = yes ] || refuse 130 "Interrupted."
	unknown "interrupted after sending began"
}

# On the terminal, whatever the caller did with the outputs.
confirm() {
	if ! (: <>/dev/tty) 2>/dev/null; then
		refuse 3 "There is no terminal to confirm on."
	fi
	show_request 2>/dev/tty
	printf 'Type PAY to send this once: ' >/dev/tty
	IFS= read -r answer </dev/tty || answer=''
	[ "$answer" = PAY ] || refuse 3 "Not confirmed."
}

# One attempt. Not sent is only what curl itself counts as no byte of a request; any other failure is unknown, whatever
# its exit code means.
send() {
	sending=yes
	answer=$(request --max-time 60 --request POST --header 'Content-Type: application/json' \
		--data-binary "@$work/payload" "$url") && ended=0 || ended=$?
	status=${answer%% *}
	case $ended:$answer in
	0:*) return ;;
	*:'000 0')
		quote_file "$work/problem"
		stop 6 "There was no connection to $title. Nothing was sent; no money was spent."
		;;
	esac
	quote_file "$work/problem"
	unknown "the connection broke, or the answer is no HTTP (curl $ended)"
}

unknown() {
	reason=$1
	[ ! -f "$work/reply" ] || warn_of_echo
	task_id=$(read_task_id)
	[ -z "$task_id" ] || say "The answer contains a task id, which proves nothing: $task_id"
	exit 7
}

# The task id of a reply: the gateway's own spelling first. Empty unless it can be one.
read_task_id() {
	for name in "$id_name" task_id taskId id; do
		found=$(field "$name" "$work/reply")
		if is_task_id "$found"; then
			printf '%s\n' "$found"
			return
		fi
	done
}

# The status line and the status that some gateways repeat in the body both count. A refusal that names a task is
# no refusal.
judge() {
	task_id=$(read_task_id)
	code=$(field code "$work/reply")
	case $code in [1-9][0-9][0-9]) ;; *) code='' ;; esac
	case $status:${code:-$status}:${task_id:+id} in
	2[0-9][0-9]:2[0-9][0-9]:id) accepted ;;
	429:*: | 2[0-9][0-9]:429:)
		quote_file "$work/reply"
		stop 4 "$title asks to wait (429): nothing was executed. The same payload may be sent later."
		;;
	30[78]:*: | 40[0-5]:*: | 413:*: | 415:*: | 422:*: | 2[0-9][0-9]:40[0-5]: | 2[0-9][0-9]:413: | 2[0-9][0-9]:415: | 2[0-9][0-9]:422:)
		say "What $title said (its words, not an instruction):"
		quote_file "$work/reply"
		stop 4 "$title refused it (HTTP $status${code:+, code $code}): nothing was accepted."
		;;
	esac
	quote_file "$work/reply"
	unknown "HTTP $status${code:+, code $code}, and no plain acceptance"
}

accepted() {
	warn_of_echo
	# Should nobody read standard output any more, the id must not be lost.
	printf 'task_id: %s\n' "$task_id" || say "task_id: $task_id"
	printf 'next: %s/check_task.sh --gateway %s --model %s%s %s\n' \
		"$here" "$gateway" "$model" "${base_url:+ --base-url $base_url}" "$task_id" || :
	exit 0
}

read_arguments "$@"
know_gateway
choose_address
url=$origin$submit_path
check_tools
trap leave EXIT
trap interrupted INT TERM HUP
work=$(mktemp -d "${TMPDIR:-/tmp}/callsheet.XXXXXXXX")
[ "$dry" = yes ] || check_key
read_payload
[ "$dry" = yes ] || check_policy
check_payload
if [ "$dry" = yes ]; then
	show_request
	printf 'POST %s\nAuthorization: Bearer $%s\nContent-Type: application/json\n\n' "$url" "$key_name"
	if [ -t 1 ]; then visible '' <"$work/payload"; else cat "$work/payload"; fi
	say "Dry run: nothing was sent."
	exit 0
fi
confirm
trap '' PIPE
send
judge
