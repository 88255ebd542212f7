# A disk whose blocks are written again and again while its server dies. Source it after mounted.sh.
#
#	rewrite_under_kills DISK    for some seconds; KILLS=50 for more
rewrite_under_kills()
{
	local server job n kills=${KILLS:-4}
	"$BUILD/tests/kill/rewriter" "$(device_of "$1" device)" $((kills + 2)) >rewriter.log 2>&1 &
	job=$!
	for n in $(seq "$kills"); do
		sleep "0.$((RANDOM % 10))"
		server=$(device_of "$1" server_pid)
		kill -KILL "$server" 2>/dev/null || continue # the keeper is at another one already
		await is_served_by_another "$1" "$server" || fail "no other server came"
		kill -0 $job || break
	done
	wait $job || { cat rewriter.log; fail "after $n kills"; }
	echo "$kills kills, $(cat rewriter.log)"
}
