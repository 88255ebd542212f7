#!/bin/bash
# Where systemd manages the machine a server runs in a scope of its own; when there is none to be had, it runs all the same.
# alone

# In a mount namespace of its own, with a /run that looks as if systemd had started this machine.
if [ -z "${IN_NAMESPACE-}" ] && unshare -m true 2>/dev/null; then
	IN_NAMESPACE=1 exec unshare -m "$0"
fi
. "$(dirname "$0")/lib.sh"
[ -n "${IN_NAMESPACE-}" ] || skip "no mount namespace of its own"
[ -x /usr/bin/systemd-run ] || skip "systemd-run is not installed"
[ ! -e /run/systemd/system ] || skip "systemd runs here"
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system a
run_check ploop init -s 64M a/root.hds

each "systemd-run as it is, with nobody who listens"
run_check ploop mount a
expect_line stderr 'the server of /dev/mapper/ploop[0-9]* has no scope of its own and ends with its caller.s: .*'
run_check ploop umount a

each "what the server cannot do is told as ever, and tried once"
cat >systemd-run <<END
#!/bin/sh
echo "\$@" >>'$SCRATCH/asked'
while [ "\$1" != -- ]; do shift; done
shift
exec "\$@"
END
chmod +x systemd-run
mount --bind systemd-run /usr/bin/systemd-run
at_end 'umount -l /usr/bin/systemd-run 2>/dev/null'
cp -r a damaged
poke damaged/root.hds 28 ffffffff
run_mustfail 11 ploop mount damaged
[ "$(wc -l <asked)" = 1 ] || fail "tried $(wc -l <asked) times"
rm asked

each "a scope that nothing stops but the end of its processes"
run_check ploop mount -m mnt a
expect_no stderr scope
device=$(device_of a device)
grep -E "^--scope .*--property=DefaultDependencies=no --property=SendSIGKILL=no --unit=${device#/dev/mapper/}-[0-9]+ .* -- /.*/ploop-server " asked ||
	fail "asked for: $(cat asked)"
echo works >mnt/file || fail "it does not work"
run_check ploop umount a
run_check umount /usr/bin/systemd-run
expect_nothing_left
