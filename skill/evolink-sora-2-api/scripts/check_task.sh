#!/bin/sh
# Asks a Sora 2 gateway after a task. Reading is free and changes nothing; see --help.

usage() {
  cat <<'END'
Usage: check_task.sh --gateway NAME --model ID [OPTIONS] TASK_ID

Asks the gateway after a task and prints its state, its progress and, when it is finished, the video's link.

Gateways, models and the variable that holds the key:
  evolink  sora-2-preview; EVOLINK_API_KEY

Options:
  --gateway NAME   the gateway (default: evolink)
  --model ID       the model that was submitted; APIXO cannot be asked without it
  --wait SECONDS   keep asking, at the documented pace, until it has ended or the time is over (at most 3600)
  --base-url URL   a stand-in on this computer (http://127.0.0.1:PORT/GATEWAY)
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

# What this script and its neighbours share: ends, gateways, keys, addresses, reading a reply.

{ set +x; } 2>/dev/null # a trace would show the key
set -eu
LC_ALL=C
export LC_ALL
umask 077
unset key # else the key would be exported again where somebody exports a variable of that name

say() { printf '%s\n' "$*" >&2; }

# stop EXIT WORDS...: the words on standard error, and that exit code.
stop() {
  ends_with=$1
  shift
  say "$*"
  exit "$ends_with"
}

# Facts of a gateway. Its key leaves the environment here, so that no program started later inherits it.
# shellcheck disable=SC2034 # each script uses its part of the facts
know_gateway() {
  case $gateway in
  evolink)
    title=EvoLink origin=https://api.evolink.ai models='sora-2-preview'
    submit_path="/v1/videos/generations" status_path="/v1/tasks/${task:-}"
    key_name=EVOLINK_API_KEY key_page=https://evolink.ai/dashboard/keys key=${EVOLINK_API_KEY:-}
    unset EVOLINK_API_KEY
    model_in=body id_name=id
    state_name=status link_name=results
    case $model in
    sora-2-preview)
      price='4 s: 0.339 USD; 8 s: 0.678 USD; 12 s: 1.016 USD (undated). 23.04, 46.08 and 69.12 credits. An older page has 0.32, 0.64 and 0.96 USD; the higher figures stand.'
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
  *[!!-~]*) stop 5 "$key_name holds a space, a line break or a character that no key has. Nothing was sent." ;;
  *[\"\'\\]*) stop 5 "$key_name holds a quote or a backslash. Nothing was sent." ;;
  esac
  [ "${#key}" -ge 8 ] || stop 5 "$key_name is too short to be a key. Nothing was sent."
}

# request CURL-ARGUMENTS...: one request, no redirect, no retry; the reply in $work/reply. The key goes to curl on
# standard input. -q comes first: a .curlrc could trace the key or retry.
request() {
  if [ -n "$base_url" ]; then
    set -- --noproxy '*' "$@"
  else
    set -- --tlsv1.2 "$@"
  fi
  printf 'header = "Authorization: Bearer %s"\n' "$key" |
    curl -q --config - --silent --show-error --http1.1 --proto "$protocol" --max-redirs 0 \
      --connect-timeout 10 --max-filesize 1048576 --header 'Expect:' --header 'Accept: application/json' \
      --output "$work/reply" --write-out '%{http_code} %{time_connect}' "$@" 2>"$work/problem"
}

# field NAME FILE: the first text or whole number behind that name. In JSON, a quote inside a text follows a
# backslash, so a name that somebody wrote into a message is not taken for a field.
field() {
  awk -v name="$1" '
    { text = text $0 " " }
    END {
      if (match(text, "\"" name "\"[ \t\r]*:[ \t\r]*(\"[^\"\\\\]*\"|[0-9]+)")) {
        value = substr(text, RSTART, RLENGTH)
        sub(/^"[^"]*"[ \t\r]*:[ \t\r]*/, "", value)
        gsub(/"/, "", value)
        print value
      }
    }' "$2"
}

# What a gateway or curl said: without control characters and without the key should it be echoed; bounded last, for a
# cut would leave half a key standing.
quote_file() {
  {
    printf '%s\n' "$key"
    head -c 1048576 "$1" 2>/dev/null | tr -d '\000-\010\013-\037\177'
  } | awk '
    NR == 1 { key = $0; next }
    {
      line = $0
      while (key != "" && (at = index(line, key))) {
        line = substr(line, 1, at - 1) "[key]" substr(line, at + length(key))
      }
      print "  | " line
    }' | head -c 2000 >&2
  say ""
}

gateway='evolink' model='sora-2-preview' base_url='' task='' wait=0 work=''

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
  case $task in *[!!-~]*) stop 2 "That is no task id." ;; esac
  printf '%s\n' "$task" | grep -Eqx '[A-Za-z0-9_-][A-Za-z0-9._:-]{0,127}' || stop 2 "That is no task id."
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
    return
  fi
  status=${answer%% *}
  code=$(field code "$work/reply")
  case $code in [1-9][0-9][0-9]) ;; *) code=$status ;; esac
  said=$(field "$state_name" "$work/reply")
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
  case $said in
  finished | success | completed) state=finished ;;
  failed | cancelled) state=failed ;;
  *[!a-z_]* | '') state=unread ;;
  *) state=open ;;
  esac
}

# The first link of a finished task. APIXO's stands in a text that is JSON again.
video_link() {
  sed 's/\\"/"/g; s/\\\//\//g' "$work/reply" | tr '\n' ' ' |
    sed -n "s/.*\"$link_name\"[ ]*:[ ]*\\[\\{0,1\\}[ ]*\"\\(https\\{0,1\\}:[^\"]*\\)\".*/\\1/p" |
    grep -Ex '[A-Za-z0-9:/._~%?&=+,@!;#-]{8,2048}' || :
}

tell() {
  printf 'state: %s\n' "${said:-not readable}"
  progress=$(field progress "$work/reply")
  [ -z "$progress" ] || printf 'progress: %s\n' "$progress"
  case $state in
  finished)
    link=$(video_link)
    [ -n "$link" ] || stop 6 "It is finished, but the answer has no readable link. Ask again."
    printf 'video: %s\n' "$link"
    say "The link works for: $kept. Save the video now. The key is not needed for that: do not send it there."
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
