#!/usr/bin/env bash
# compare.sh BASE [PULL_REQUEST]: the working tree against BASE, into the step summary and, where it is allowed, into one
# comment of the pull request that is edited in place. Ends as `tunetrail compare --gate` does.
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
        echo "no comment was written (the token of a fork may not); the comparison stands in the step summary"
fi
exit "$status"
