#!/usr/bin/env bash
# comment.sh PULL_REQUEST FILE: FILE as the one comment of the pull request that is ours, edited in place. A hidden marker
# finds it: the last comment of the same bot may be another workflow's.
set -euo pipefail
marker="<!-- tunetrail -->"
comments="repos/{owner}/{repo}/issues/$1/comments"
body=$(mktemp)
trap 'rm -f "$body"' EXIT
{ echo "$marker"; cat "$2"; } >"$body"
listed=$(gh api --paginate "$comments" --jq '.[] | [.id, .user.login, .body] | @tsv')
id=$(awk -F '\t' -v marker="$marker" '$2 == "github-actions[bot]" && index($3, marker) == 1 { id = $1 } END { print id }' <<<"$listed")
if [ -n "$id" ]; then
    gh api --silent --method PATCH "repos/{owner}/{repo}/issues/comments/$id" -F "body=@$body"
else
    gh api --silent --method POST "$comments" -F "body=@$body"
fi
