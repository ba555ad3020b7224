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

define-command threadrunner-suggest -docstring 'ask for a suggestion at the cursor' %{
    set-register t "%val{cursor_line}:%val{cursor_column}"
    evaluate-commands -draft %{
        execute-keys '%'
        evaluate-commands %sh{
            # A suggestion never ends with a line end, so that $(…) cuts nothing of it.
            text=$(printf '%s' "$kak_selection" |
                $kak_opt_threadrunner_command lsp --at "$kak_reg_t" --path "$kak_buffile" \
                    --language "$kak_opt_filetype" 2>/dev/null)
            printf "set-option buffer threadrunner_text '%s'\n" "$(printf '%s' "$text" | sed "s/'/''/g")"
        }
    }
    info %sh{
        [ -n "$kak_opt_threadrunner_text" ] && printf '%s' "$kak_opt_threadrunner_text" || echo 'nothing to suggest'
    }
}

define-command threadrunner-accept -docstring 'insert the suggestion (in insert mode)' %{
    evaluate-commands -save-regs 't' %{
        set-register t %opt{threadrunner_text}
        # From a register, not typed: no hook indents it once more.
        execute-keys '<c-r>t'
    }
    set-option buffer threadrunner_text ''
    info
}
