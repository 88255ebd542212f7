# What tests leave behind: processes (found by the run's mark in their environment, which daemons inherit), mounts, loop
# devices and sockets.

# leftover_pids WORD: processes that have WORD in their environment. One program looks at all of them; it has to be
# another than the shell, whose environment is that of its start.
leftover_pids()
{
	local file
	for file in $(unset PLOOP_TEST_RUN && exec grep -lszxF -- "$1" /proc/[0-9]*/environ); do
		file=${file#/proc/}
		echo "${file%/environ}"
	done
}

# Mount points below a folder, the deepest first, and loop devices on files below it.
mounts_below()
{
	awk -v dir="$1/" 'index($5 "/", dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r
}
loops_below()
{
	losetup -n -O NAME,BACK-FILE 2>/dev/null | awk -v dir="$1/" 'index($2, dir) == 1 { print $1 }'
}

release_mounts_below()
{
	local it
	for it in $(mounts_below "$1"); do
		umount -l "$it"
	done
	for it in $(loops_below "$1"); do
		losetup -d "$it"
	done
}

# settle WORD: give what is on its way out two seconds; true when all are gone.
settle()
{
	local i
	for i in $(seq 20); do
		[ -n "$(leftover_pids "$1")" ] || return 0
		sleep 0.1
	done
	return 1
}

# left_by NAME FOLDER: tell and remove what a finished test left; true when there was something.
left_by()
{
	local pid found=1
	if ! settle "PLOOP_TEST=$PLOOP_TEST_RUN/$1"; then
		for pid in $(leftover_pids "PLOOP_TEST=$PLOOP_TEST_RUN/$1"); do
			echo "left a process: $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
			kill -KILL "$pid" 2>/dev/null
			found=0
		done
	fi
	if [ -n "$(mounts_below "$2")$(loops_below "$2")" ]; then
		echo "left mounted: $(mounts_below "$2" | xargs) $(loops_below "$2" | xargs)"
		release_mounts_below "$2"
		found=0
	fi
	return $found
}

# The state of the machine that our programs could change, sorted lines.
machine_state()
{
	{
		awk '/ploop|plt\./ { print "mount", $5 }' /proc/self/mountinfo
		losetup -n -O NAME,BACK-FILE 2>/dev/null | awk '/ploop|plt\./ { print "loop device", $1, "on", $2 }'
		# A socket somebody listens on is judged by the process that does.
		find /run/ploop "${XDG_RUNTIME_DIR:-/nonexistent}/ploop" "/tmp/ploop-$(id -u)" -type s 2>/dev/null |
			grep -vxFf <(awk '{ print $8 }' /proc/net/unix | grep /) | sed 's/^/socket /'
	} | sort -u
}
note_before()
{
	machine_state >"$1"
}
# report_left_since FILE: true when nothing is left.
report_left_since()
{
	local left
	settle "PLOOP_TEST_RUN=$PLOOP_TEST_RUN"
	left=$(comm -13 "$1" <(machine_state)
		for pid in $(leftover_pids "PLOOP_TEST_RUN=$PLOOP_TEST_RUN"); do
			echo "process $pid $(tr '\0' ' ' <"/proc/$pid/cmdline")"
		done)
	if [ -n "$left" ]; then
		printf 'FAIL  end/nothing-left\n%s\n' "$left"
		return 1
	fi
	printf 'ok    end/nothing-left\n'
}
