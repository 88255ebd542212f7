# A server of one image, and a client that notes what it was promised. Source it; it brings nbd/server.sh and writer.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../nbd/server.sh"
. "$SRC/tests/kill/writer.sh" # by name: we stand in another folder by now
