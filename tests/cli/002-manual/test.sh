#!/bin/bash
# The manual and the tables agree, both ways: every option is in the page, every option in the page exists.
. "$(dirname "$0")/../../lib.sh"
need pod2text

# The options that words in a text name: -x and --name.
options_in()
{
	grep -oE '(^|[^A-Za-z0-9-])(--[a-z][a-z0-9-]+|-[a-zA-Z])([^A-Za-z0-9-]|$)' "$1" | grep -oE -- '--?[A-Za-z][a-z0-9-]*' | sort -u
}

# children COMMAND: a group's commands, or an empty line.
children()
{
	if grep -q 'for ploop commands' "$SRC/cli/man/ploop-$1.pod"; then
		"$PLOOP" "$1" --long-options
	else
		echo
	fi
}

# expand_page FILE: into page.txt, whose options are in told
expand_page()
{
	"$SRC/cli/man/expand" "$PLOOP" "$1" >page.pod || fail "cannot expand $1"
	pod2text --errors=die page.pod >page.txt || fail "the page is not valid POD"
	grep -q '=for ploop' page.pod && fail "something is not filled in"
	head -c 300 page.txt | grep -q "$name - " || fail "NAME is wrong"
	options_in page.txt >told
}

# Those that are known and those that the page tells of.
compare_options()
{
	local option
	while read -r option; do
		grep -qx -- "$option" told || fail "$option is not in the page"
	done <known
	# What a page says about the options of others is marked as such: "-v" is ploop's own.
	while read -r option; do
		grep -qx -- "$option" known || [ "$option" = -v ] || fail "the page tells of $option, which does not exist"
	done <told
}

for page in "$SRC"/cli/man/ploop-*.pod; do
	name=$(basename "$page" .pod)
	command=${name#ploop-}
	each "$command"
	"$PLOOP" --commands | grep -qx -- "$command" || fail "the page $name.pod has no command"
	expand_page "$page"

	: >known
	while read -r child; do
		# shellcheck disable=SC2086 # no word when there is no child
		"$PLOOP" "$command" $child --long-options >>known
		# shellcheck disable=SC2086
		"$PLOOP" "$command" $child --short-options >>known
	done < <(children "$command")
	sort -u -o known known
	compare_options
done

for page in "$SRC"/cli/man/*mount.ploop.pod; do
	name=$(basename "$page" .pod)
	each "$name"
	expand_page "$page"
	"$BUILD/$name" --long-options >known
	"$BUILD/$name" --short-options >>known
	sort -u -o known known
	compare_options
done
