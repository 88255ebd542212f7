#!/bin/bash
# Every folder tells what it is: a README of one page; and no source lies about that no build reads.
set -euo pipefail
cd "$SRC"
bad=0
for folder in layout crypt ploop snapshot kmod-free cli tests bench; do
	[ -s "$folder/README.md" ] || { echo "$folder/ has no README.md" && bad=1; }
done
for source in layout/*.c ploop/*.c kmod-free/*.c cli/*.c; do
	case $source in
	kmod-free/*_main.c) object=$BUILD/${source%.c}.o ;;
	*) object=$BUILD/${source%.c}.o ;;
	esac
	[ -e "$object" ] || { echo "$source is not built" && bad=1; }
done
exit $bad
