#!/bin/bash
# merge: bare image files, base last, into the base or a new file; the result reads the same with QEMU.
. "$(dirname "$0")/../lib.sh"

new_disk d
write_disk d 'write -P 1 0 1M'
run_check ploop snapshot -u "$A" d
write_disk d 'write -P 2 512k 1M'
run_check ploop snapshot -u "$B" d
write_disk d 'write -P 3 1M 1M'
mapfile -t images < <("$PLOOP" snapshot-list -H -o fname d)
cp "${images[0]}" base
cp "${images[1]}" middle
cp "${images[2]}" top
mkdir was
cp base middle top was

content=(-c 'read -P 1 0 512k' -c 'read -P 2 512k 512k' -c 'read -P 3 1M 1M' -c 'read -P 0 2M 14M')
for command in merge snapshot-merge; do
	each "$command into the base"
	cp was/* .
	run_check ploop "$command" top middle base
	run_check qemu-io -r -f parallels "${content[@]}" base
	expect_no stdout 'Pattern verification failed'
	run_check qemu-img check -f parallels base

	each "$command into a new file"
	cp was/* .
	run_check ploop "$command" -n new top middle base
	run_check qemu-io -r -f parallels "${content[@]}" new
	expect_no stdout 'Pattern verification failed'
	run_check qemu-img check -f parallels new
	cmp base was/base || fail "the base was written"
	rm new
done

each "into a raw base, when it is said to be one"
cp was/* .
run_check qemu-img convert -f parallels -O raw base raw
run_check ploop merge -f raw top middle raw
run_check qemu-io -r -f raw "${content[@]}" raw
expect_no stdout 'Pattern verification failed'

each "what is refused"
cp raw raw.was
cp was/* .
touch there
run_mustfail 38 ploop merge base
run_mustfail 38 ploop merge
run_mustfail 38 ploop merge d base
expect_line stderr 'snapshot-merge'
run_mustfail 38 ploop merge -d /dev/ploop0 -l 0
run_mustfail 38 ploop merge -f raw top base
run_mustfail 11 ploop merge top raw
cmp raw raw.was || fail "the raw file changed"
run_mustfail 38 ploop merge -n there top base
run_mustfail 4 ploop merge nowhere base
echo 'not an image' >junk
run_mustfail 11 ploop merge junk base
run_mustfail 11 ploop merge top junk
for file in top middle base; do
	cmp $file was/$file || fail "$file changed"
done
