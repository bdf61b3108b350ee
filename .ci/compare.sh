#!/usr/bin/env bash
# compare.sh BASE [PULL_REQUEST]: compares the working tree with BASE. Writes the result to the step summary and, if permitted,
# to a comment on the pull request. Exits with the status of `tunetrail compare --gate`.
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/page.md"
status=0
tunetrail compare --base "$1" --output "$work/page.md" --gate 2>"$work/error" || status=$?
cat "$work/error" >&2
{ cat "$work/error"; echo; cat "$work/page.md"; } >"$work/comment.md"
cat "$work/comment.md" >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
if [ -n "${2:-}" ]; then
    bash "$(dirname "${BASH_SOURCE[0]}")/comment.sh" "$2" "$work/comment.md" ||
        echo "cannot comment on the pull request (a fork's token may not); the comparison is in the step summary"
fi
exit "$status"
