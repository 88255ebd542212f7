#!/bin/bash
# Nothing of a developer's machine in the tree, and no unfinished marks but OWED.
set -euo pipefail
cd "$SRC"
files=$(git ls-files 2>/dev/null || find . -type f -not -path './.git/*' -not -path './build/*')
bad=0
# shellcheck disable=SC2086
if grep -nIE '(^|[^a-zA-Z0-9_/.])/(work|home/[a-z]+|root)/' $files | grep -v '^tests/tidy/words.sh:'; then
	echo '  ^ an absolute path of a developer'
	bad=1
fi
# shellcheck disable=SC2086
if grep -nIE '\b(TODO|FIXME|XXX|HACK)\b' $files | grep -vE '^tests/tidy/words.sh:|mktemp|XXXXXX'; then
	echo '  ^ a debt is written OWED: what and why; make owed lists them'
	bad=1
fi
exit $bad
