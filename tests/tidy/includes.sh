#!/bin/bash
# Who may include whom: the direction of knowledge between the folders.
set -euo pipefail
cd "$SRC"

# folder: what its files may include besides their own folder and system headers
may_include()
{
	case $1 in
	include/base) echo 'base/*' ;;
	include) echo 'ploop.h' ;;
	layout) echo 'base/*' ;;
	crypt) echo 'base/*' ;;
	ploop) echo 'base/* layout/* crypt/* ploop.h' ;;
	snapshot) echo 'base/* layout/* crypt/* ploop/engine.h ploop.h' ;;
	kmod-free) echo 'base/* ploop.h ploop-serve.h' ;;
	cli) echo 'base/* layout/header.h layout/journal.h layout/gpt.h ploop.h ploop-serve.h' ;; # init and debug work on the bytes themselves
	esac
}

bad=0
for folder in include/base include layout crypt ploop snapshot kmod-free cli; do
	read -ra allowed <<<"$(may_include $folder)"
	for file in "$folder"/*.[ch] "$folder"/*.def; do
		[ -e "$file" ] || continue
		while IFS=: read -r line name; do
			# a sibling, by its bare name or by the folder's
			[[ $name != */* && -e $folder/$name && $folder != include ]] && continue
			[[ $name == "$folder"/* || ($folder == include/base && $name == base/*) ]] && continue
			for glob in "${allowed[@]}"; do
				# shellcheck disable=SC2053 # a glob on purpose
				[[ $name == $glob ]] && continue 2
			done
			echo "$file:$line: $folder/ may not include \"$name\""
			bad=1
		done < <(sed -n '/^# *include *"/{s/.*"\(.*\)".*/\1/;=;p}' "$file" | paste -d: - -)
	done
done

# The public headers stand on C's own headers; ploop-serve.h also on ploop.h.
for header in include/*.h; do
	while IFS= read -r name; do
		case $name in
		'<stdarg.h>' | '<stdbool.h>' | '<stddef.h>' | '<stdint.h>') ;;
		'"ploop.h"') [ "$header" != include/ploop.h ] || exit 1 ;;
		*) echo "$header: includes $name" && bad=1 ;;
		esac
	done < <(sed -n 's/^# *include *\([<"][^>"]*[>"]\).*/\1/p' "$header")
done
exit $bad
