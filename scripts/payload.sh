#!/bin/sh
# What submit.sh checks before it sends: the payload, and the policy of this computer.
# shellcheck disable=SC2154 # it brings some of the names

# The bytes that are checked, shown and sent are one private copy.
read_payload() {
	if [ "$payload" = - ]; then
		head -c 1048577 >"$work/payload"
	else
		[ -f "$payload" ] || stop 2 "There is no file $payload."
		head -c 1048577 <"$payload" >"$work/payload" || stop 2 "The file $payload cannot be read."
	fi
	size=$(($(wc -c <"$work/payload")))
	[ "$size" -le 1048576 ] || stop 2 "The payload is larger than 1 MB."
	[ "$(tr -d '\000-\010\013\014\016-\037' <"$work/payload" | wc -c)" -eq "$size" ] ||
		stop 2 "The payload holds control characters, which JSON does not allow."
	! holds_key "$work/payload" || stop 5 "The payload holds the key itself. Nothing was sent; replace that key."
	read_names
	case $model_in:$named in
	body:"$model" | path: | path:"$model") ;;
	*) refuse 2 "The payload's \"model\" is not $model." ;;
	esac
}

# The payload's model, in $named. Programs disagree on a name that is there twice, or spelled with a backslash: what you
# are shown might not be what is made.
read_names() {
	found=$(awk '
		BEGIN { RS = "\"" }
		inside {
			text = text $0
			match($0, /\\*$/)
			if (RLENGTH % 2) { text = text "\""; next }
			inside = 0
			if (wanted) { model = text; wanted = 0 }
			next
		}
		{
			gsub(/[ \t\r\n]/, "")
			if (NR > 1 && /^:/) {
				if (text ~ /\\/) problem = "a name spelled with a backslash"
				if ((object[depth], text) in seen) problem = "the same name twice in one object"
				seen[object[depth], text] = 1
				if (depth == 1 && text == "model" && $0 == ":") wanted = 1
			}
			gsub(/[^][{}]/, "")
			for (at = 1; at <= length($0); at++) {
				if (substr($0, at, 1) ~ /[[{]/) {
					if (!depth && (objects || /^\[/)) problem = "not one JSON object"
					object[++depth] = ++objects
				} else depth--
			}
			inside = 1
			text = ""
		}
		END {
			if (depth || !objects) problem = "no whole JSON object"
			print problem
			print model
		}' "$work/payload")
	case $found in
	[!"$newline"]*) refuse 2 "The payload has ${found%%"$newline"*}." ;;
	esac
	named=${found#"$newline"}
}

# Offline: the program knows every documented rule. It is not needed, and its own trouble is no refusal.
check_payload() {
	checked=127
	if command -v callsheet >/dev/null; then
		checked=0
		callsheet explain --payload - --gateway "$gateway" --model "$model" \
			<"$work/payload" >"$work/explained" 2>&1 || checked=$?
	fi
	case $checked in
	0) say "Checked: the payload breaks no documented rule." ;;
	2 | 4)
		visible '' <"$work/explained" >&2
		refuse 2 "The payload breaks a rule, see above."
		;;
	127) say "Not checked: the callsheet program is not there." ;;
	*) say "Not checked: callsheet explain ended with $checked." ;;
	esac
}

# The home that this computer's list of users names: a project can set HOME and XDG_CONFIG_HOME, but not that.
find_home() {
	if command -v getent >/dev/null; then
		getent passwd "$(id -u)" | head -n 1 | cut -d : -f 6
	elif command -v dscl >/dev/null; then
		dscl . -read "/Users/$(id -un)" NFSHomeDirectory | sed -n 's/^NFSHomeDirectory: //p'
	fi
}

policy_mode() {
	[ -f "$1" ] || return 0
	awk '
		/^[ \t]*\[/ { exit }
		/^[ \t]*mode[ \t]*=[ \t]*["\047]/ { split($0, part, /["\047]/); print part[2]; exit }' "$1"
}

# A pause and read-only hold wherever a policy may be. Live counts only in the default place, in a private file of this
# user. Limits that this script cannot keep are left to the program.
check_policy() {
	case $(uname -s) in
	Darwin) usual='Library/Application Support/callsheet' ;;
	*) usual=.config/callsheet ;;
	esac
	own=$(find_home) || own=''
	for folder in ${own:+"$own/$usual"} ${HOME:+"$HOME/$usual"} ${XDG_CONFIG_HOME:+"$XDG_CONFIG_HOME/callsheet"} \
		${CALLSHEET_HOME:+"$CALLSHEET_HOME/config"}; do
		if [ -e "$folder/paused" ] || [ -L "$folder/paused" ]; then
			refuse 3 "Sending is paused on this computer."
		fi
		[ "$(policy_mode "$folder/policy.toml")" != read-only ] ||
			refuse 3 "The policy of this computer is read-only: nothing may be submitted."
	done
	[ -z "$base_url" ] || return 0
	policy=${own:-/nowhere}/$usual/policy.toml
	[ "$(policy_mode "$policy")" = live ] ||
		refuse 3 "Live mode is not armed: $policy does not say mode = \"live\". You arm it by callsheet setup."
	# shellcheck disable=SC2012 # the columns before the name are read, never the name
	ls -ldn "$policy" | awk -v user="$(id -u)" '{ exit !($1 ~ /^-...------/ && $3 == user) }' ||
		refuse 3 "$policy is not a private file of yours (chmod 600), so it does not count."
	awk -v gateway="$gateway" -v card="$gateway/$model" '
		/^[ \t]*#/ { next }
		/^[ \t]*\[/ { table = $0 }
		/floor.*passphrase/ && !/passphrase_from/ { held = 1 }
		/allowed.*false/ {
			# In the table of another gateway or model it does not matter.
			if (index(table, "." gateway "]") || index(table, "\"" card "\"")) held = 1
			if (table !~ /^\[(gateways\.[a-z0-9_-]+|models\."[^"]+")\]/) held = 1
		}
		END { exit held }' "$policy" ||
		refuse 3 "The policy asks for the passphrase or does not allow this model. Only callsheet submit can do that."
}

# All that a person needs before typing PAY, the money last, so that a long body does not push it off the screen.
show_request() {
	head -c 16000 "$work/payload" | visible '  | ' >&2
	if [ "$size" -gt 16000 ]; then
		say "NOT ALL IS SHOWN: $((size - 16000)) of $size bytes follow. Read them before you go on, in $work/payload"
	fi
	say "$title, $model: POST $url"
	if [ -n "$base_url" ]; then
		say "A rehearsal on this computer: no money is spent."
		return
	fi
  say "OpenAI shut Sora 2 down on 2026-09-24. Whether $title still serves it is not known: a request may be refused, or fail after it was accepted."
	say "Price: $price"
	say "This script does not check the caps, the approval passphrase or the record of the callsheet program."
}
