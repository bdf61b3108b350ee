#!/usr/bin/env bash
# compare.sh BASE [FILE]: compares the working tree with BASE. Writes the result to the step summary and to FILE.
# Exits with the status of `tunetrail compare --gate`.
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/page.md"
status=0
tunetrail compare --base "$1" --output "$work/page.md" --gate 2>"$work/error" || status=$?
cat "$work/error" >&2
# An error can quote what the pull request brings. As a block of code it cannot mark up the comment; the page escapes its values.
{ sed 's/^\(.\{500\}\).*/\1…/; s/^/    /; 20q' "$work/error"; echo; cat "$work/page.md"; } >"$work/comparison.md"
cat "$work/comparison.md" >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
if [ -n "${2:-}" ]; then cp "$work/comparison.md" "$2"; fi
exit "$status"
