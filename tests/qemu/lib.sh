# Round trips with QEMU: serve an image for the length of a command, make content worth comparing.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need qemu-img qemu-io

is_ready_or_gone()
{
	[ -S "$SCRATCH/sock" ] || ! kill -0 "$1" 2>/dev/null
}

# with_server IMAGE CMD...: run CMD while IMAGE is served at $URI; the server must close it cleanly afterwards.
with_server()
{
	local image=$1 pid
	shift
	"$PLOOP" serve "$image" --socket "$SCRATCH/sock" 2>"$SCRATCH/server.log" &
	pid=$!
	await is_ready_or_gone $pid
	[ -S "$SCRATCH/sock" ] || { cat "$SCRATCH/server.log"; fail "the server of $image does not start"; }
	URI="nbd+unix:///?socket=$SCRATCH/sock"
	"$@"
	kill $pid
	wait $pid || { cat "$SCRATCH/server.log"; fail "the server of $image ended with $?"; }
}

# random_raw FILE BYTES SEED: mostly holes, with runs of random bytes at 512-byte boundaries.
random_raw()
{
	python3 - "$@" <<'PY'
import random, sys
path, size, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
with open(path, "wb") as f:
    f.truncate(size)
    for _ in range(24):
        length = min(rng.choice([512, 4096, 70000 // 512 * 512, 1 << 20]), size)
        f.seek(rng.randrange(0, (size - length) // 512 + 1) * 512)
        f.write(rng.randbytes(length))
    f.seek(size - 512)
    f.write(rng.randbytes(512))
PY
}

# qemu_is_content IMAGE: no errors and no leaks, but for the one false report: of an image without data whose header takes
# several clusters, all of those but one.
qemu_is_content()
{
	local header_clusters cluster_bytes
	lib_run qemu-img check -f parallels "$1"
	[ "$RC" = 0 ] && return
	[ "$RC" = 3 ] || fail "qemu-img check of $1 says $RC"
	read -r header_clusters cluster_bytes < <("$PLOOP" debug header --json "$1" | python3 -c '
import json, sys
h = json.load(sys.stdin)
print(h["first_block_sectors"] // h["cluster_sectors"], h["cluster_sectors"] * 512)')
	[ "$(stat -c %s "$1")" = $((header_clusters * cluster_bytes)) ] || fail "leaks are found in $1, which has data"
	expect_line stdout "^$((header_clusters - 1)) leaked clusters"
}
