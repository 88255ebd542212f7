# The client that notes what it was promised, beside the server at $URI.
#
#	start_writer     in the background, as $writer; returns when the server has acknowledged a first write
#	end_writer       its connection is gone: what it says
WRITER=$BUILD/tests/kill/writer

start_writer()
{
	: >writer.out
	"$WRITER" write "$URI" promises >writer.out 2>&1 &
	writer=$!
	for _ in $(seq 400); do
		! grep -q '^writing' writer.out || return 0
		kill -0 "$writer" 2>/dev/null || break
		sleep 0.02
	done
	cat writer.out
	fail "the writer does not write"
}

end_writer()
{
	wait "$writer" || fail "the writer ended with $?"
	cat writer.out
}
