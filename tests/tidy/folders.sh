#!/bin/bash
# Every folder tells what it is: a README of one page; no source lies about that no build reads, no test that never runs.
set -euo pipefail
cd "$SRC"
bad=0
for folder in layout crypt ploop snapshot kmod-free cli tests bench; do
	[ -s "$folder/README.md" ] || { echo "$folder/ has no README.md" && bad=1; }
done
for source in layout/*.c crypt/*.c ploop/*.c snapshot/*.c kmod-free/*.c cli/*.c; do
	[ ! -e "$source" ] || [ -e "$BUILD/obj/${source%.c}.o" ] || { echo "$source is not built" && bad=1; }
done
# The runner takes what is executable.
for script in tests/*/*.sh tests/cli/*/test.sh; do
	if [ ! -x "$script" ] && head -c 2 "$script" | grep -q '^#!'; then
		echo "$script begins like a program, but is not executable: it never runs" && bad=1
	fi
done
exit $bad
