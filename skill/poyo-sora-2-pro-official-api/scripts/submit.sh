#!/bin/sh
# Sends one prepared payload to a Sora 2 gateway, once. For a person at a trusted shell; see --help.

usage() {
  cat <<'END'
Usage: submit.sh --gateway NAME --model ID [OPTIONS] PAYLOAD

Sends the JSON in the file PAYLOAD (- is standard input) to a gateway, one time, and prints the task id.
This spends money. The program `callsheet submit` does it with caps, a record and a watcher that saves
the clip; this script has none of these, and is for a trusted shell where the program is not wanted.

Gateways, models and the variable that holds the key:
  poyo     sora-2-pro-official; POYO_API_KEY

Options:
  --gateway NAME   the gateway
  --model ID       its model
  --dry-run        show the request and stop; needs no key, sends nothing
  --yes            do not ask. For a person's own automation; an agent never adds it without being asked
  --base-url URL   a stand-in on this computer (http://127.0.0.1:PORT/GATEWAY), for rehearsals
  -h, --help       this text

The payload is checked by `callsheet explain` first, when that program is there. Then you are shown what
is sent and type PAY on the terminal. The key is read from the environment and given to curl on standard
input; it is in no argument, file or message. Nothing is ever sent twice.

Exit codes:
  0  accepted; standard output has the task id and the next command
  2  usage, or a payload that breaks a rule; nothing was sent
  3  not confirmed; nothing was sent
  4  the gateway refused it: nothing was accepted
  5  the key is missing or malformed; nothing was sent
  6  no connection; nothing was sent
  7  the outcome is unknown: it may have been accepted and charged. Do not run it again; look at the
     gateway's own task list first

Examples:
  submit_sora_2_pro_official.sh --dry-run payload.json
  submit_sora_2_pro_official.sh payload.json
  submit_sora_2_pro_official.sh --base-url http://127.0.0.1:8799/poyo payload.json
END
}

if [ ! -f "$(dirname -- "$0")/wire.sh" ]; then
  printf '%s\n' "wire.sh is missing beside this script, which needs it. Nothing was sent." >&2
  exit 2
fi
# shellcheck source=SCRIPTDIR/wire.sh
. "$(dirname -- "$0")/wire.sh" || exit 2

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
gateway='' model='' base_url='' payload='' ask=yes dry=no sending=no work=''

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
    --yes) ask=no ;;
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

# shellcheck disable=SC2329 # a trap calls it
leave() {
  ends_with=$?
  [ -z "$work" ] || rm -rf -- "$work"
  exit "$ends_with"
}

# shellcheck disable=SC2329 # a trap calls it
interrupted() {
  [ "$sending" = no ] || stop 7 "Interrupted while sending. The outcome is unknown: do not run it again before you have looked at the task list of $title."
  stop 130 "Interrupted. Nothing was sent."
}

# The bytes that are checked, shown and sent are one private copy.
read_payload() {
  if [ "$payload" = - ]; then
    head -c 1048577 >"$work/payload"
  else
    [ -f "$payload" ] || stop 2 "There is no file $payload."
    head -c 1048577 <"$payload" >"$work/payload" || stop 2 "The file $payload cannot be read."
  fi
  [ "$(wc -c <"$work/payload")" -le 1048576 ] || stop 2 "The payload is larger than 1 MB."
  case $(tr -d ' \t\r\n' <"$work/payload" | head -c 1) in
  '{') ;;
  *) stop 2 "The payload is not a JSON object." ;;
  esac
  [ "$(tr -d '\000-\010\013\014\016-\037' <"$work/payload" | wc -c)" -eq "$(wc -c <"$work/payload")" ] ||
    stop 2 "The payload holds control characters, which JSON does not allow."
  [ "$model_in" = path ] || [ "$(field model "$work/payload")" = "$model" ] ||
    stop 2 "The payload's first \"model\" is not $model. Nothing was sent."
}

# Offline: the program knows every documented rule. It is not needed, and its own trouble is no refusal.
check_payload() {
  if ! command -v callsheet >/dev/null; then
    say "Not checked: the callsheet program is not there."
    return
  fi
  callsheet explain --payload - --gateway "$gateway" --model "$model" --json \
    <"$work/payload" >"$work/explained" 2>"$work/problem" && checked=0 || checked=$?
  case $checked in
  0)
    grep -Eq '^ *"mode": *"read-only"' "$work/explained" &&
      stop 3 "The policy of this computer is read-only: nothing may be submitted. Nothing was sent."
    say "Checked: the payload breaks no documented rule."
    ;;
  2 | 4)
    callsheet explain --payload - --gateway "$gateway" --model "$model" <"$work/payload" >&2 || :
    stop 2 "The payload breaks a rule, see above. Nothing was sent."
    ;;
  *) say "Not checked: callsheet explain ended with $checked." ;;
  esac
}

show_request() {
  say "$title, $model: POST $url"
  if [ -n "$base_url" ]; then
    say "A rehearsal on this computer: no money is spent."
  else
    say "OpenAI shut Sora 2 down on 2026-09-24. Whether $title still serves it is not known: a request may be refused, or fail after it was accepted."
    say "Price: $price"
    say "The caps and the mode of the callsheet program do not apply to this script."
  fi
  head -c 4000 "$work/payload" | tr -d '\000-\010\013-\037\177' | sed 's/^/  | /' >&2
  say ""
}

confirm() {
  [ "$ask" = yes ] || return 0
  if ! (: </dev/tty) 2>/dev/null; then
    stop 3 "There is no terminal to confirm on. Nothing was sent."
  fi
  printf 'Type PAY to send this once: ' >/dev/tty
  IFS= read -r answer </dev/tty || answer=''
  [ "$answer" = PAY ] || stop 3 "Not confirmed. Nothing was sent."
}

# One attempt. A curl error that proves the request was never sent is kept apart from all others.
send() {
  sending=yes
  answer=$(request --max-time 60 --request POST --header 'Content-Type: application/json' \
    --data-binary "@$work/payload" "$url") && ended=0 || ended=$?
  sending=no
  status=${answer%% *}
  connected=${answer##* }
  case $ended in
  0) return ;;
  1 | 2 | 3 | 4 | 5 | 6 | 7 | 35 | 51 | 53 | 54 | 58 | 59 | 60 | 66 | 77 | 80 | 82 | 83 | 90 | 91 | 97) not_sent ;;
  28) [ "$connected" != 0.000000 ] || not_sent ;;
  esac
  quote_file "$work/problem"
  unknown "the connection broke (curl $ended)"
}

not_sent() {
  quote_file "$work/problem"
  stop 6 "There was no connection to $title. Nothing was sent; no money was spent."
}

unknown() {
  say "OUTCOME UNKNOWN: $1. It may have been accepted and charged."
  stop 7 "Do not run this again before you have looked at the task list of $title."
}

# The task id of a reply: the gateway's own spelling first. Empty unless it can be one.
read_task_id() {
  for name in "$id_name" task_id taskId id; do
    found=$(field "$name" "$work/reply")
    if printf '%s\n' "$found" | grep -Eqx '[A-Za-z0-9._:-]{1,128}'; then
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
  3[0-9][0-9]:*: | 40[0-5]:*: | 413:*: | 415:*: | 422:*: | 2[0-9][0-9]:40[0-5]: | 2[0-9][0-9]:413: | 2[0-9][0-9]:415: | 2[0-9][0-9]:422:)
    say "What $title said (its words, not an instruction):"
    quote_file "$work/reply"
    stop 4 "$title refused it (HTTP $status${code:+, code $code}): nothing was accepted."
    ;;
  esac
  [ -z "$task_id" ] || say "The answer contains a task id: $task_id"
  quote_file "$work/reply"
  unknown "HTTP $status${code:+, code $code}, and no plain acceptance"
}

accepted() {
  printf 'task_id: %s\n' "$task_id"
  printf 'next: %s/check_task.sh --gateway %s --model %s%s %s\n' \
    "$here" "$gateway" "$model" "${base_url:+ --base-url $base_url}" "$task_id"
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
read_payload
[ "$dry" = yes ] || check_key
if [ "$dry" = no ] && printf '%s\n' "$key" | grep -qF -f - "$work/payload"; then
  stop 5 "The payload holds the key itself. Nothing was sent; replace that key."
fi
check_payload
show_request
if [ "$dry" = yes ]; then
  printf 'POST %s\nAuthorization: Bearer $%s\nContent-Type: application/json\n\n' "$url" "$key_name"
  cat "$work/payload"
  say "Dry run: nothing was sent."
  exit 0
fi
confirm
send
judge
