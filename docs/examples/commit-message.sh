#!/bin/sh
# A Git hook that drafts the commit message from what is staged. Your editor opens with the draft in it.
#
#     cp docs/examples/commit-message.sh .git/hooks/prepare-commit-msg
#
# Git calls it with the message's file, and with where the message comes from if it has one already (-m, a merge,
# --amend): those are left alone. Without an answer the commit goes on with an empty draft.
file=$1
[ -z "$2" ] || exit 0

draft=$(mktemp) || exit 0
trap 'rm -f "$draft"' EXIT

# --json ends with exactly one event, "result" or "error"; the exit code says which kind of error it was.
git diff --staged | threadrunner --mode commit --json --no-stream --timeout 60 > "$draft"
case $? in
    0) ;;
    2) echo "commit message: no daemon; run: threadrunner doctor" >&2; exit 0 ;;
    3) echo "commit message: the model cannot answer, or the diff is too long for it" >&2; exit 0 ;;
    4) echo "commit message: no answer within 60 s" >&2; exit 0 ;;
    130) exit 130 ;; # Ctrl-C: end the commit too
    *) exit 0 ;; # threadrunner has said why
esac

# The draft goes before the comments that Git has put into the file. A draft that the token limit cut is not used.
python3 - "$draft" "$file" <<'PYTHON'
import json, sys

draft, file = sys.argv[1:]
with open(draft, encoding="utf-8") as lines:
    result = json.loads(lines.readlines()[-1])
if result["finish_reason"] == "stop":
    with open(file, "r+", encoding="utf-8") as message:
        comments = message.read()
        message.seek(0)
        message.write(result["text"].strip() + "\n" + comments)
PYTHON
