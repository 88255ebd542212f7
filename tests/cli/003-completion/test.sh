#!/bin/bash
# The completion offers what the program has: commands, options of a command, formats; else files.
. "$(dirname "$0")/../../lib.sh"
. "$SRC/cli/completion/ploop"

# complete_words WORD...: what is offered for the last one
complete_words()
{
	COMP_WORDS=("$PLOOP" "$@")
	COMP_CWORD=$#
	COMPREPLY=()
	_ploop
	echo "\$ ploop $*: ${COMPREPLY[*]}"
}
offered() { printf '%s\n' "${COMPREPLY[@]}" | grep -qx -- "$1" || fail "$1 is not offered"; }
only() { [ "${COMPREPLY[*]}" = "$*" ] || fail "expected only: $*"; }

complete_words ''
offered init
offered check
complete_words in
only init info
complete_words -vv in
only init info
complete_words help ch
only check
complete_words init --no
offered --nolazy
complete_words init -
offered -s
offered --size
complete_words init -f pre
only preallocated
complete_words check -f -
offered --force
complete_words debug h
only header holes
complete_words debug bat --
offered --json
touch disk.hds
complete_words check di
only disk.hds
