#!/bin/bash
# A foreign library is known to the files of one row, so that replacing it is the work of one place. What runs once for
# each mounted disk, and is started while its requests wait, loads no more than it needs.
set -fuo pipefail
cd "$SRC"

# header: files that may include it
rows='
liburing.h          ploop/loop_uring.c
libxml/             layout/descriptor*
openssl/evp.h       layout/ext_md5.c crypt/cipher_openssl.c
openssl/ssl.h       kmod-free/tls_openssl.c
openssl/err.h       kmod-free/tls_openssl.c
fuse_lowlevel.h     kmod-free/fuse_session.c
fuse.h              kmod-free/fuse_session.c
linux/fuse.h        kmod-free/fuse_request.c
json-c/             cli/output*.c kmod-free/control_message.c
blkid/              cli/*
libmount/           cli/guest_mount.c
uuid/               cli/guid.c ploop/guid.c
libdevmapper.h      kmod-free/dm.c
netlink/            kmod-free/nbdk_netlink.c
linux/loop.h        kmod-free/loop*.c
pthread.h           ploop/loop_plain.c ploop/error.c ploop/log.c
'
bad=0
while IFS=: read -r file line text; do
	name=${text#*<}
	name=${name%%>*}
	known=
	while read -r header files; do
		[[ -n $header && ($name == "$header" || $header == */ && $name == "$header"*) ]] || continue
		known=1
		for glob in $files; do
			# shellcheck disable=SC2053 # a glob on purpose
			[[ $file == $glob ]] && continue 3
		done
	done <<<"$rows"
	[ -z "$known" ] || { echo "$file:$line: <$name> does not belong here" && bad=1; }
done < <(grep -rn '^# *include *<' include layout crypt ploop snapshot kmod-free cli --include='*.[ch]')

loads() # PROGRAM LIBRARY
{
	readelf -d "$BUILD/$1" | grep -q "NEEDED.*\[$2\."
}
for library in libxml2 libdevmapper libmount libblkid; do
	! loads ploop-server $library || { echo "ploop-server loads $library" && bad=1; }
done
for library in $(readelf -d "$BUILD/ploop-keeper" "$BUILD/ploop-holder" | sed -n 's/.*NEEDED.*\[\(.*\)\.so.*/\1/p'); do
	case $library in
	libc | ld-linux-*) ;;
	*) echo "a keeper or a holder loads $library" && bad=1 ;;
	esac
done
exit $bad
