#!/bin/bash
# Server and holder die with many clusters partly written: the next open replays them quickly, and they hold what was flushed.
# A sparse disk of 128 GiB; N=100000 for more, with 100 GiB of space.
# timeout: 900
. "$(dirname "$0")/../cli/lib.sh"
need python3

N=${N:-2000} # each takes a megabyte of the host
MOST_MS=10000 # generous: the machine may be busy

mkdir d
run_check ploop -v0 init -s 128G -b 2048 -t none d/root.hds
# Every cluster is mapped, and none takes space.
python3 - d/root.hds <<'PY' || fail "it cannot be mapped"
import struct, sys
with open(sys.argv[1], "r+b") as f:
    first = struct.unpack_from("<I", f.read(64), 48)[0] // 2048
    f.write(b"".join(struct.pack("<I", first + i) for i in range(131072)))
    f.truncate((first + 131072) << 20)
PY
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
