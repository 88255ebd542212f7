#!/bin/bash
# A clone has GUIDs and a UUID of its own, and the file system checker and others find nothing to say against it.
# timeout: 300
. "$(dirname "$0")/../../lib.sh"
need nbdcopy e2fsck mkfs.ext4 blkid

# raw DISK FILE: its content, and its partition 1 in FILE.part
raw()
{
	rm -f "$2" "$2.part"
	nbdcopy -- [ "$PLOOP" serve -r "$1" ] "$2" || fail "read $1"
	dd if="$2" of="$2.part" bs=1M skip=1 conv=sparse status=none
}
tag()
{
	blkid -p -s "$2" -o value "$1"
}
expect_clean()
{
	run_check e2fsck -fn "$1"
	expect_no stdout 'Fix|FIXED|differ|WARNING'
}

for kind in linked full; do
	each "$kind: partition table and ext4"
	rm -rf tpl c
	mkdir tpl
	run_check ploop init -s 256M tpl/root.hds
	run_check ploop clone --seal tpl
	raw tpl a
	run_check ploop clone --$kind tpl c
	expect_line stdout '^Identity: new GUIDs in the partition table; the file system has the new UUID [0-9a-f-]{36}$'
	uuid=$(sed -n 's/.*new UUID //p' stdout)
	raw c b
	expect_clean b.part
	[ "$(tag b.part UUID)" = "$uuid" ] || fail "the UUID is $(tag b.part UUID), it was said to be $uuid"
	[ "$(tag a.part UUID)" != "$uuid" ] || fail "the UUID did not change"
	[ "$(tag a PTUUID)" != "$(tag b PTUUID)" ] || fail "the GUID of the disk did not change"
	cmp <(tail -c 16896 b | head -c 16384) <(head -c $((1024 + 16384)) b | tail -c 16384) || fail "the copies of the table differ"
	if command -v sgdisk >/dev/null; then
		run_check sgdisk -v b
		expect_line stdout 'No problems found'
		guid() { sgdisk -i 1 "$1" | sed -n 's/^Partition unique GUID: //p'; }
		[ "$(guid a)" != "$(guid b)" ] || fail "the GUID of the partition did not change"
	fi
	each "$kind: nothing else changed"
	[ "$(cmp -l a b | wc -l)" -lt 400 ] || fail "more than identifiers differ: $(cmp -l a b | wc -l) bytes"
	each "$kind: e2fsck repairs nothing, and brings the backups up to date"
	run_check e2fsck -fy b.part
	run_check e2fsck -fn b.part
done

each "--keep-identity"
run_check ploop clone --full -k tpl same
expect_no stdout Identity
raw same b
cmp a b || fail "content of the clone"

# The file system on the bare disk, made with options that matter to the UUID.
bare()
{
	local options=$1
	each "bare, mkfs.ext4 $options"
	rm -rf d c
	mkdir d
	run_check ploop init -s 64M -t none -f raw d/root.hds
	# shellcheck disable=SC2086 # words
	run_check mkfs.ext4 -q $options d/root.hds
	run_check ploop clone --full d c
	cp stdout said
	raw c b
	cp d/root.hds a
	expect_clean b
}
for options in '-O ^metadata_csum,^uninit_bg' '-O metadata_csum' '-O metadata_csum,metadata_csum_seed' '-O ^has_journal,^extents,^64bit -b 1024'; do
	bare "$options"
	[ "$(tag a UUID)" != "$(tag b UUID)" ] || fail "the UUID did not change"
done
for options in '-O uninit_bg,^metadata_csum' '-O stable_inodes,encrypt'; do
	bare "$options"
	expect_line said 'depend on its UUID, which stays'
	[ "$(tag a UUID)" = "$(tag b UUID)" ] || fail "a UUID that other things depend on changed"
done

each "what is unknown is left alone, and said so"
rm -rf d c
mkdir d
run_check ploop init -s 64M -t none d/root.hds
run_check ploop clone --full d c
expect_line stdout '^Identity: there is no file system that is known here, so no UUID is changed$'
if command -v mkfs.xfs >/dev/null; then
	rm -rf d c
	mkdir d
	run_check ploop init -s 512M -t xfs d/root.hds
	run_check ploop clone --full d c
	expect_line stdout '^Identity: new GUIDs in the partition table; the UUID of XFS stays'
fi

each "a damaged table is not touched"
rm -rf d c
mkdir d
run_check ploop init -s 64M -f raw d/root.hds
poke d/root.hds $((1024 + 16)) 00000000
run_check ploop clone --full d c
expect_line stdout '^Identity: the partition table is damaged'
cmp d/root.hds c/root.hds || fail "changed"

each "a damaged second copy stays as it is"
rm -rf d c
mkdir d
run_check ploop init -s 64M -f raw d/root.hds
poke d/root.hds $(($(stat -c %s d/root.hds) - 512 + 20)) ff
run_check ploop clone --full d c
expect_line stdout 'whose second copy is damaged and stays so'
cmp <(tail -c 16896 d/root.hds) <(tail -c 16896 c/root.hds) || fail "changed"
