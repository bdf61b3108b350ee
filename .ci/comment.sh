#!/usr/bin/env bash
# comment.sh PULL_REQUEST FILE: posts FILE as a comment on the pull request, or updates the comment of an earlier run. A hidden
# marker identifies that comment, since other workflows comment as the same bot.
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
