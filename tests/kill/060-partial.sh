#!/bin/bash
# Server and holder die with many clusters partly written: the next open replays them quickly, and they hold what was flushed.
# A sparse disk of 128 GiB; N=100000 for more. What they reserve, a megabyte each, need not be there: as root their file system
# is a sparse file.
# timeout: 900
. "$(dirname "$0")/../cli/lib.sh"
need python3

N=${N:-2000}
MOST_MS=10000 # generous: the machine may be busy

mkdir d
if [ "$N" -gt 2000 ]; then
	truncate -s 256G host.img
	run_check mkfs.ext4 -q -E nodiscard,lazy_itable_init=1 host.img
	mount -o loop host.img d || skip "no loop device for a sparse file system"
	at_end 'umount -l "$SCRATCH/d"'
fi
run_check ploop -v0 init -s 128G -b 2048 -t none d/root.hds
map_all_sparsely d/root.hds
run_check ploop snapshot d
start_server d
server=$(cat pid)

# 4 KiB in each of N clusters, in no order; later every hundredth is read, with what is beside it.
python3 - "$N" <<'PY'
import random, sys
order = list(range(131072))
random.Random(7).shuffle(order)
def place(c):
    return f"{(c << 20) + (c * 37 % 255 << 12)} 4k"
with open("writes", "w") as writes, open("reads", "w") as reads:
    for i, c in enumerate(order[:int(sys.argv[1])]):
        print(f"aio_write -q -P {c % 250 + 1} {place(c)}", file=writes)
        if i % 256 == 255:
            print("aio_flush", file=writes)
        if i % 100 == 0:
            print(f"read -q -P {c % 250 + 1} {place(c)}", file=reads)
            print(f"read -q -P 0 {(c << 20) + (255 << 12)} 4k", file=reads)
    print("aio_flush", file=writes)
    print("flush", file=writes)
PY
begin=${EPOCHREALTIME/./}
qemu-io -f raw "$URI" <writes >stdout || fail "qemu-io cannot write"
echo "$N first writes: $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
kill -STOP "$server" # it must not start another holder
top=$("$PLOOP" snapshot-list --json d | jq -r '.snapshots[] | select(.current) | .fname')
mapfile -t holders < <(holder_of "$top")
[ "${#holders[@]}" = 1 ] || fail "${#holders[@]} holders"
kill -KILL "$server" "${holders[@]}"
rm -f pid

begin=${EPOCHREALTIME/./}
run_check ploop info -s --json d
unfinished=$(jq .unfinished_clusters stdout)
echo "a read-only open replays $unfinished clusters: $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
[ "$unfinished" -ge $((N / 2)) ] || fail "only $unfinished of $N clusters are unfinished: it says nothing"

begin=${EPOCHREALTIME/./}
start_server d --no-wait
ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
echo "recovery of $unfinished partial clusters: $ms ms until the server is ready"
[ "$ms" -le $MOST_MS ] || fail "it took $ms ms"
begin=${EPOCHREALTIME/./}
qemu-io -f raw "$URI" <reads >stdout || fail "qemu-io cannot read"
expect_no stdout 'Pattern verification failed'
echo "$((N / 50)) reads: $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
stop_server
