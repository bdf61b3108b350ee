#!/usr/bin/env bash
# comment.sh RUN COMMIT: posts the comparison that workflow run RUN uploaded on the open pull requests whose last commit is
# COMMIT, or updates the comment of an earlier run. A hidden marker identifies that comment, since other workflows comment as
# the same bot. Code of the pull request wrote the comparison: it is quoted, and it does not choose where it appears.
set -euo pipefail
marker="<!-- tunetrail -->"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Prints the start of a file as a quotation without effect, at most three times as long: a comment holds 65,536 characters.
# A character of no width breaks links, images, HTML, entities, headings, mentions and references to issues. Host names may
# contain it, so it stands before the dot of "www.". Headings become bold. A wide dollar sign begins no formula, and divided
# runs of marks begin no block of code or diagram. The entities of `tunetrail compare` stay.
quote() {
    local zero=$'\xe2\x80\x8b'
    head -c 20000 "$1" | { iconv -c -f utf-8 -t utf-8 2>/dev/null || true; } |
        LC_ALL=C tr '\r' '\n' | LC_ALL=C tr -d '\000-\010\013-\037\177' | LC_ALL=C sed -E "
        s/^ {0,3}#+ +(.*)/**\1**/
        s/^[[:space:]>]*(=+|-+)[[:space:]]*\$//
        s/[]@<#&]|www|GH-|:\/\//&$zero/gI
        s/:\/\/$zero/:$zero\/\//g
        s/&$zero(amp|gt|lt|quot);/\&\1;/g
        s/[\$]/＄/g
        s/\`\`|~~/&$zero/g
        s/^/> /"
}

if ! gh run download "$1" --name comparison --dir "$work" || [ ! -f "$work/comparison.md" ] || [ -L "$work/comparison.md" ]; then
    echo "run $1 uploaded no comparison; its log shows why"
    exit 0
fi
{
    echo "$marker"
    echo "The code of this pull request computed this at $2. A reviewer cannot rely on it alone: the code can print anything."
    echo
    quote "$work/comparison.md"
} >"$work/body"
pulls=$(gh api --paginate "repos/{owner}/{repo}/pulls" --jq ".[] | select(.head.sha == \"$2\") | .number")
for pull in $pulls; do
    comments="repos/{owner}/{repo}/issues/$pull/comments"
    listed=$(gh api --paginate "$comments" --jq '.[] | [.id, .user.login, .body] | @tsv')
    id=$(awk -F '\t' -v marker="$marker" \
        '$2 == "github-actions[bot]" && index($3, marker) == 1 { id = $1 } END { print id }' <<<"$listed")
    if [ -n "$id" ]; then
        gh api --silent --method PATCH "repos/{owner}/{repo}/issues/comments/$id" -F "body=@$work/body"
    else
        gh api --silent --method POST "$comments" -F "body=@$work/body"
    fi
done
