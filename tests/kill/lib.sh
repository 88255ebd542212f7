# A server of one image, and a client that notes what it was promised. Source it; it brings nbd/server.sh and writer.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../nbd/server.sh"
. "$SRC/tests/kill/writer.sh" # by name: we stand in another folder by now
need qemu-img

# write_for_a_moment ROUND: a server runs, and its client is at work. The disk has small clusters, and often new ones:
# first writes are what is at stake.
write_for_a_moment()
{
	if [ $(($1 % 4)) != 0 ]; then
		rm -f disk.hds promises
		run_check qemu-img create -q -f parallels -o cluster_size=32768 disk.hds 64M
	fi
	start_server
	start_writer
	sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
}
