#!/bin/bash
# layout/ is pure: its objects call nothing but the functions listed and each other. The descriptor (libxml2) and the
# extension's digest (libcrypto) are the two exceptions.
set -euo pipefail
pure='memcpy memset memcmp memmove strlen strcmp strncmp qsort abort snprintf __assert_fail fprintf stderr
	_GLOBAL_OFFSET_TABLE_ __stack_chk_fail'

objects=$(find "$BUILD/obj/layout" -name '*.o' ! -name 'descriptor*' ! -name ext_md5.o)
[ -n "$objects" ] || { echo "no objects in $BUILD/obj/layout" && exit 1; }
# shellcheck disable=SC2086
own=$(nm --defined-only $objects $(find "$BUILD/obj/layout" -name ext_md5.o) | awk 'NF == 3 { print $3 }')
# shellcheck disable=SC2086
foreign=$(nm -uA $objects | awk '{ print $NF }' | sort -u | grep -vxF -e "$own" -e "$(printf '%s\n' $pure)" || true)
[ -z "$foreign" ] || { echo "layout/ calls:" $foreign && exit 1; }
