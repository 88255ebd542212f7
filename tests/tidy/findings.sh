#!/bin/bash
# Every row of findings.def has an image that shows it: its stable name occurs in the tests that make images.
set -euo pipefail
cd "$SRC"
bad=0
for name in $(sed -n 's/^FINDING([A-Z0-9_]*, "\([a-z0-9-]*\)".*/\1/p' layout/findings.def); do
	grep -rqF -- "$name" tests/images tests/unit || { echo "$name: no test makes an image with it" && bad=1; }
done
exit $bad
