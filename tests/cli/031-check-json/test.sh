#!/bin/bash
# check --json is one JSON object with the findings, the exit code and the sentence, whatever happens.
. "$(dirname "$0")/../../lib.sh"
need python3

# json PYTHON: true of the object
json()
{
	python3 - "$1" <<'END' || fail "not so: $1"
import json, sys
j = json.load(open("stdout"))
sys.exit(0 if eval(sys.argv[1], {"j": j}) else 1)
END
}

run_check ploop -v0 init -s 10M -t none img
truncate -s 4M img
poke img 64 0900000001000000

run_check ploop check --json img
json 'j["exit_code"] == 0 and len(j["findings"]) == 1 and j["error"] is None'
run_mayfail ploop check --json -f -c -r img
[ "$RC" = 11 ] || fail "exit code $RC"
json 'j["exit_code"] == 11'
json 'any(f["verdict"] == "FATAL" and f["image"] == "img" for f in j["findings"])'
json 'all(set(f) == {"image", "id", "text", "verdict", "error"} for f in j["findings"])'
[ ! -s stderr ] || fail "something is said on stderr as well"
run_mayfail ploop check --json nowhere
json 'j["exit_code"] == 4'
