#!/bin/bash
# `make install` puts everything where it is looked for, and a program built against it opens a disk.
# alone
set -euo pipefail
cd "$SRC"
dest=$TMPDIR/dest

make -s FLAVOR=release BUILD_ROOT="$BUILD_ROOT" PREFIX=/usr LIBDIR=/usr/lib DESTDIR="$dest" install

for file in sbin/ploop sbin/mount.ploop sbin/umount.ploop share/man/man8/mount.ploop.8 libexec/ploop/ploop-server libexec/ploop/ploop-holder libexec/ploop/ploop-keeper include/ploop.h lib/libploop-core.so.0 \
	lib/libploop-core.so lib/pkgconfig/libploop-core.pc share/man/man8/ploop.8 \
	share/bash-completion/completions/ploop share/doc/ploop/LICENSE \
	lib/systemd/system/ploop.service lib/systemd/system/ploop-serve@.service lib/systemd/system/ploop-serve@.socket; do
	[ -s "$dest/usr/$file" ] || { echo "missing: /usr/$file" && exit 1; }
done
[ -x "$dest/usr/sbin/ploop" ]
# The units hold, as far as that can be told without the programs in their place.
if command -v systemd-analyze >/dev/null; then
	mkdir "$TMPDIR/units"
	for unit in "$dest"/usr/lib/systemd/system/*; do
		sed "s|/usr/sbin/ploop|$dest&|" "$unit" >"$TMPDIR/units/$(basename "$unit")"
	done
	verdict=$(systemd-analyze verify --man=no "$TMPDIR"/units/* 2>&1) || true
	[ -z "$verdict" ] || { echo "$verdict" && exit 1; }
fi

grep -rIl -- "$dest" "$dest" && { echo 'DESTDIR was written into these files' && exit 1; }
strings "$dest/usr/sbin/ploop" | grep -x >/dev/null /usr/libexec/ploop || { echo 'ploop looks for its servers elsewhere' && exit 1; }

# A program of somebody else: the header, the pkg-config file and the library are all it has.
cat >"$TMPDIR/other.c" <<'C'
#include <ploop.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct pl_create_options create = {.size = sizeof(create), .size_sectors = 65536};
	struct pl_image_ref image = {.path = argv[1], .dir_fd = -1, .format = PL_FORMAT_PLOOP};
	struct pl_chain_spec chain = {.size = sizeof(chain), .images = &image, .count = 1};
	struct pl_open_options options = {.size = sizeof(options)};
	struct pl_disk_info info;
	struct pl_loop *loop;
	struct pl_disk *disk;

	if (argc != 2 || pl_image_create(argv[1], &create) < 0 || pl_loop_new(NULL, &loop) < 0 ||
	    pl_disk_open(loop, &chain, &options, &disk) < 0) {
		fprintf(stderr, "%s\n", pl_error());
		return 1;
	}
	pl_disk_get_info(disk, &info);
	printf("%llu\n", (unsigned long long)info.size_bytes);
	return pl_disk_close(disk) < 0;
}
C
export PKG_CONFIG_SYSROOT_DIR=$dest PKG_CONFIG_LIBDIR=$dest/usr/lib/pkgconfig PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 \
	PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
# shellcheck disable=SC2046 # flags
gcc -Wall -Werror -o "$TMPDIR/other" "$TMPDIR/other.c" $(pkg-config --cflags --libs libploop-core)
[ "$(LD_LIBRARY_PATH=$dest/usr/lib "$TMPDIR/other" "$TMPDIR/disk.hds")" = 33554432 ]
[ "$(pkg-config --modversion libploop-core)" = "$("$dest/usr/sbin/ploop" --version | grep -o '[0-9.]*$')" ]
