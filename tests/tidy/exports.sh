#!/bin/bash
# What libploop-core.so exports is what ploop.h declares: each name begins with pl_ and has its words in the header.
set -euo pipefail
cd "$SRC"
exported=$(nm -D --defined-only "$BUILD/libploop-core.so.0" | awk '{ print $3 }' | sort)
declared=$(grep -o '^PL_API[^(]*(' include/ploop.h | grep -o 'pl_[a-z0-9_]*($' | tr -d '(' | sort)
bad=0

grep -v '^pl_' <<<"$exported" && { echo "exported, but not pl_…" && bad=1; }
missing=$(comm -13 <(echo "$exported") <(echo "$declared"))
hidden=$(comm -23 <(echo "$exported") <(echo "$declared"))
[ -z "$missing" ] || { echo "declared in ploop.h, not exported:" $missing && bad=1; }
[ -z "$hidden" ] || { echo "exported, not declared in ploop.h:" $hidden && bad=1; }

# A declaration has a comment in its paragraph: above it, above its neighbours, or in the struct it belongs to.
awk '
	/^$/ || /^\/\* -+/ { told = 0 }
	/\/\*/ && !/^\/\* -+/ { told = 1 }
	/^PL_API/ && !told { print FILENAME ":" FNR ": not a word about " $0; bad = 1 }
	END { exit bad }
' include/*.h || bad=1
exit $bad
