#!/bin/bash
# Every folder tells what it is: a README of one page; and no source lies about that no build reads.
set -euo pipefail
cd "$SRC"
bad=0
for folder in layout crypt ploop snapshot kmod-free cli tests bench; do
	[ -s "$folder/README.md" ] || { echo "$folder/ has no README.md" && bad=1; }
done
for source in layout/*.c crypt/*.c ploop/*.c snapshot/*.c kmod-free/*.c cli/*.c; do
	[ ! -e "$source" ] || [ -e "$BUILD/obj/${source%.c}.o" ] || { echo "$source is not built" && bad=1; }
done
exit $bad
