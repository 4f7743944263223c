#!/bin/sh
# Reads and shows text that somebody else wrote: payloads and replies. submit.sh and check_task.sh read it in.
# shellcheck disable=SC2154 # they bring some of the names

# The text on standard input, with everything that a terminal obeys, reverses or hides written out: \x1b, \u202e.
# $1 goes before each line.
visible() {
	od -An -v -tx1 | awk '
		BEGIN {
			for (at = 0; at < 256; at++) number[sprintf("%02x", at)] = at
			# Controls, direction marks, joiners, blanks without width, surrogates, private use, selectors, tags.
			ranges = split("0-159 173-173 847-847 1564-1564 4447-4448 6068-6069 6155-6159 8203-8207 8232-8238 " \
				"8288-8303 10240-10240 12644-12644 55296-63743 65024-65039 65279-65279 65440-65440 65520-65531 " \
				"119155-119162 917504-1114111", range, /[ -]/)
		}
		function hidden(code, at) {
			for (at = 1; at < ranges; at += 2) if (code >= range[at] + 0 && code <= range[at + 1] + 0) return 1
			return code < least
		}
		function take(byte) {
			if (missing) {
				if (byte > 127 && byte < 192) {
					code = code * 64 + byte - 128
					whole = whole sprintf("\\0%03o", byte)
					broken = broken sprintf("\\\\x%02x", byte)
					if (--missing == 0) printf "%s", hidden(code) ? sprintf("\\\\u%04x", code) : whole
					return
				}
				printf "%s", broken
				missing = 0
			}
			if (byte == 10) print ""
			else if (byte == 92) printf "%s", "\\\\"
			else if (byte == 9 || byte > 31 && byte < 127) printf "%c", byte
			else {
				broken = sprintf("\\\\x%02x", byte)
				whole = sprintf("\\0%03o", byte)
				if (byte > 193 && byte < 224) { missing = 1; code = byte - 192; least = 128 }
				else if (byte > 223 && byte < 240) { missing = 2; code = byte - 224; least = 2048 }
				else if (byte > 239 && byte < 245) { missing = 3; code = byte - 240; least = 65536 }
				else printf "%s", broken
			}
		}
		{ for (at = 1; at <= NF; at++) take(number[$at]) }
		END { if (missing) printf "%s", broken }' |
		while IFS= read -r line || [ -n "$line" ]; do printf '%s%b\n' "$1" "$line"; done
}

# field NAME FILE: the first text or whole number behind that name. In JSON, a quote inside a text follows a
# backslash, so a name that somebody wrote into a message is not taken for a field.
field() {
	head -c 1048576 "$2" | tr '\n\r\t\000' '    ' | awk -v name="$1" '
		match($0, "\"" name "\" *: *(\"[^\"\\\\]*\"|[0-9]+)") {
			value = substr($0, RSTART, RLENGTH)
			sub(/^"[^"]*" *: */, "", value)
			gsub(/"/, "", value)
			print value
		}' || :
}

# holds_key FILE: whether the key is there, plain or spelled as JSON and links may spell it.
holds_key() {
	[ -n "$key" ] || return 1
	{
		printf '%s\n' "$key"
		head -c 1048577 "$1" | tr '\n\000' '  '
		echo
		head -c 1048577 "$1" | tr '\n\000' '  ' | sed 's/\\\//\//g; s/\\u00/%/g' | awk '
			BEGIN {
				RS = "%"
				for (at = 32; at < 127; at++) letter[sprintf("%02x", at)] = sprintf("%c", at)
			}
			NR == 1 { printf "%s", $0; next }
			{
				spelled = tolower(substr($0, 1, 2))
				if (spelled in letter) printf "%s%s", letter[spelled], substr($0, 3)
				else printf "%%%s", $0
			}'
		echo
	} | awk 'NR == 1 { key = $0; next } index($0, key) { found = 1 } END { exit !found }'
}

# is_task_id TEXT: letters, digits and a few marks; no path, no option, not the key.
is_task_id() {
	case $1 in '' | [!A-Za-z0-9_]* | *[!A-Za-z0-9_.:-]* | *..*) return 1 ;; esac
	[ "${#1}" -le 128 ] || return 1
	[ -n "$key" ] || return 0
	case $1 in *"$key"*) return 1 ;; esac
}

# What a gateway or curl said, without the key should it be echoed. The bound comes last: a cut would leave half a key.
quote_file() {
	{
		printf '%s\n' "$key"
		head -c 1048576 "$1" 2>/dev/null
	} | awk '
		NR == 1 { key = $0; next }
		{
			line = $0
			while (key != "" && (at = index(line, key))) {
				printf "%s[key]", substr(line, 1, at - 1)
				line = substr(line, at + length(key))
			}
			print line
		}' >"$work/quoted"
	if holds_key "$work/quoted"; then
		say "  | [not shown: it holds the key]"
	else
		head -c 2000 "$work/quoted" | visible '  | ' >&2
	fi
}

warn_of_echo() {
	if holds_key "$work/reply"; then
		say "$title gave the key back. Replace it at $key_page."
	fi
}
