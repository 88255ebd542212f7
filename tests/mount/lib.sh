# What the mount tests share: they run on this machine's kernel, as root, with /dev/fuse and loop devices.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

[ "$(id -u)" = 0 ] || skip "needs root"
[ -c /dev/fuse ] || skip "there is no /dev/fuse"
[ -c /dev/loop-control ] || skip "there is no /dev/loop-control"
. "$SRC/tests/mounted.sh"
