# What the tests of snapshots share, on top of tests/lib.sh: bytes go in and come out through a server and qemu-io, which
# knows nothing of chains.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need qemu-io qemu-img jq

TOP='{5fbaabe3-6958-40ff-92a7-860e329aab41}'
NONE='{00000000-0000-0000-0000-000000000000}'
UNKNOWN=deadbeef-1111-4111-8111-111111111111
A='{aaaaaaaa-1111-4111-8111-111111111111}'
B='{bbbbbbbb-2222-4222-8222-222222222222}'
C='{cccccccc-3333-4333-8333-333333333333}'

# start_server DISK [OPTION...]: at $URI, until stop_server.
start_server()
{
	local disk=$1
	shift
	URI="nbd+unix:///?socket=$SCRATCH/sock"
	run_check ploop serve --socket "$SCRATCH/sock" --pid-file "$SCRATCH/pid" --daemonize "$@" "$disk"
}

stop_server()
{
	[ -e "$SCRATCH/pid" ] || return 0
	kill "$(cat "$SCRATCH/pid")"
	await is_gone "$SCRATCH/pid" || fail "the server does not end"
}
at_end stop_server

# io COMMAND...: qemu-io commands on the server
io()
{
	local command words=()
	for command; do
		words+=(-c "$command")
	done
	run_check qemu-io -f raw "${words[@]}" "$URI"
	expect_no stdout 'Pattern verification failed'
}

# write_disk DISK COMMAND...; read_disk DISK UUID COMMAND...: the same on a server for this alone
write_disk()
{
	start_server "$1"
	shift
	io "$@"
	stop_server
}

read_disk()
{
	local disk=$1 uuid=$2 command words=()
	shift 2
	for command; do
		words+=(-c "$command")
	done
	start_server "$disk" -r -u "$uuid"
	run_check qemu-io -r -f raw "${words[@]}" "$URI"
	expect_no stdout 'Pattern verification failed'
	stop_server
}

# new_disk DIR [OPTION...]: an empty disk of 16 MiB with clusters of 64 KiB
new_disk()
{
	local dir=$1
	shift
	mkdir "$dir"
	run_check ploop -v0 init -s 16M -b 128 -t none "$@" "$dir/root.hds"
}

# tree DISK: "PARENT UUID" with one letter for an id, * after the top
tree()
{
	ploop_tree=$("$PLOOP" snapshot-list --json "$1" | jq -r '.snapshots[] | .parent_uuid[1:2] + .uuid[1:2] +
		(if .current then "*" else "" end) + (if .temporary then "t" else "" end)' | tr '\n' ' ')
	echo "tree of $1: $ploop_tree"
}

# expect_tree DISK WORD...
expect_tree()
{
	local disk=$1
	shift
	tree "$disk"
	[ "$ploop_tree" = "$* " ] || fail "the tree of $disk is $ploop_tree, expected: $*"
}

# expect_tidy DISK [SOUND]: its folder holds the images that the descriptor names, and nothing else; all are consistent.
# QEMU is not asked about those that are as they are in the folder SOUND.
expect_tidy()
{
	local names image
	mapfile -t names < <("$PLOOP" snapshot-list -H -o fname "$1" | xargs -d '\n' -n1 basename)
	expect_files "$1" DiskDescriptor.xml "${names[@]}"
	run_check ploop check -f "$1"
	for image in "${names[@]}"; do
		[ $# = 1 ] || ! cmp -s "$1/$image" "$2/$image" || continue
		run_check qemu-img check -f parallels "$1/$image"
	done
}
