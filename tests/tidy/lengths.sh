#!/bin/bash
# What one can hold in mind: a function of 70 lines, a file of 500, a line of 120 columns.
set -euo pipefail
cd "$SRC"
# Longer ones, each with its reason.
exceptions='
include/ploop.h           the one public door, read from top to bottom
'
files=$(find include layout crypt ploop snapshot kmod-free cli tests -name '*.[ch]')
bad=0
# shellcheck disable=SC2086
LC_ALL=C awk -v exceptions="$exceptions" '
	FNR == 1 { start = 0 }
	/^\{$/ || /^[A-Za-z].*\) *\{$/ { start = FNR }
	/^\}/ && start {
		if (FNR - start > 70) { print FILENAME ":" start ": a function of " FNR - start " lines"; bad = 1 }
		start = 0
	}
	FNR == 501 && index(exceptions, FILENAME) == 0 { print FILENAME ": more than 500 lines"; bad = 1 }
	{
		if ($0 ~ /[ \t]$/) { print FILENAME ":" FNR ": blank at the end of the line"; bad = 1 }
		indent = match($0, /[^\t]/) ? RSTART - 1 : 0
		gsub(/[\200-\277]/, "") # one column per UTF-8 character
		if (length($0) + 7 * indent > 120) { print FILENAME ":" FNR ": wider than 120 columns"; bad = 1 }
	}
	END { exit bad }
' $files || bad=1
exit $bad
