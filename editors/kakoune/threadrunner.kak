# ThreadRunner for Kakoune: a suggestion at the cursor, shown in the info box, inserted by a key.
#
#     source …/editors/kakoune/threadrunner.kak
#     map global insert <a-s> '<a-;>: threadrunner-suggest<ret>'
#     map global insert <a-a> '<a-;>: threadrunner-accept<ret>'
#
# kak-lsp knows no inline completion, so this runs `threadrunner lsp --at`, which asks the same daemon and applies the
# same filters. For suggestions in kak-lsp's menu see kak-lsp.toml.

declare-option -docstring 'the threadrunner program, with arguments if need be' str threadrunner_command 'threadrunner'
declare-option -hidden str threadrunner_text
declare-option -hidden str threadrunner_place
declare-option -hidden str threadrunner_file
declare-option -hidden str threadrunner_problem

define-command threadrunner-suggest -docstring 'ask for a suggestion at the cursor' %{
    # It is for this text and this cursor, and is inserted nowhere else.
    set-option buffer threadrunner_place "%val{timestamp}:%val{cursor_line}:%val{cursor_column}"
    # Not by a variable: one of more than 128 KiB cannot be passed to a program.
    set-option buffer threadrunner_file %sh{ mktemp "${TMPDIR:-/tmp}/threadrunner.XXXXXXXX" }
    evaluate-commands -draft %{
        execute-keys '%'
        echo -to-file %opt{threadrunner_file} -- %val{selection}
    }
    evaluate-commands %sh{
        # A suggestion never ends with a line end, so that $(…) cuts nothing of it.
        text=$($kak_opt_threadrunner_command lsp --at "$kak_cursor_line:$kak_cursor_column" --path "$kak_buffile" \
            --language "$kak_opt_filetype" < "$kak_opt_threadrunner_file" 2>"$kak_opt_threadrunner_file.err") &&
            problem= || problem=$(tail -n 1 "$kak_opt_threadrunner_file.err")
        rm -f "$kak_opt_threadrunner_file" "$kak_opt_threadrunner_file.err"
        quoted() { printf '%s' "$1" | sed "s/'/''/g"; }
        printf "set-option buffer threadrunner_text '%s'\n" "$(quoted "$text")"
        printf "set-option buffer threadrunner_problem '%s'\n" "$(quoted "$problem")"
    }
    info -- %sh{
        printf '%s' "${kak_opt_threadrunner_text:-${kak_opt_threadrunner_problem:-nothing to suggest}}"
    }
}

define-command threadrunner-accept -docstring 'insert the suggestion (in insert mode)' %{
    evaluate-commands %sh{
        here="$kak_timestamp:$kak_cursor_line:$kak_cursor_column"
        if [ -n "$kak_opt_threadrunner_text" ] && [ "$here" = "$kak_opt_threadrunner_place" ]; then
            echo threadrunner-insert
        else
            echo "info -- 'nothing is suggested here'"
        fi
    }
    set-option buffer threadrunner_text ''
}

define-command -hidden threadrunner-insert %{
    info
    evaluate-commands -save-regs 't' %{
        set-register t %opt{threadrunner_text}
        # From a register, not typed: no hook indents it once more. An undo of its own: typed text stays.
        execute-keys '<c-u><c-r>t<c-u>'
    }
}
