vim9script
# ThreadRunner for Vim 9: ghost text from `threadrunner lsp`.  Needs +job, +channel and virtual text (9.0.0067).
#
#   packadd threadrunner      (or put this folder in 'runtimepath')
#   g:threadrunner_command    how the server is started, default ['threadrunner', 'lsp']
#   g:threadrunner_settings   what docs/editors.md lists, say {trigger: 'manual'}
#   g:threadrunner_no_maps    leave the keys alone
#
# Tab takes a suggestion, Alt-Right a word of it, Alt-l a line, Ctrl-] none; Alt-\ asks for one.

if exists('g:loaded_threadrunner') || !has('channel') || !has('patch-9.0.0067')
  finish
endif
g:loaded_threadrunner = 1

import autoload '../autoload/threadrunner.vim'

highlight default link ThreadRunnerGhost NonText
if empty(prop_type_get('threadrunner'))
  prop_type_add('threadrunner', {highlight: 'ThreadRunnerGhost'})
endif

augroup threadrunner
  autocmd!
  autocmd TextChangedI,CursorMovedI,InsertEnter * threadrunner.Typed()
  autocmd InsertLeave,BufLeave * threadrunner.Hide()
  autocmd BufUnload * threadrunner.Close(str2nr(expand('<abuf>')))
  autocmd VimLeavePre * threadrunner.Stop()
augroup END

command! ThreadRunnerStatus threadrunner.Status()

if !exists('g:threadrunner_no_maps')
  inoremap <expr> <Tab> <SID>threadrunner.Accept('all', "\<Tab>")
  inoremap <expr> <M-Right> <SID>threadrunner.Accept('word', "\<M-Right>")
  inoremap <expr> <M-l> <SID>threadrunner.Accept('line', "\<M-l>")
  inoremap <expr> <C-]> <SID>threadrunner.Dismiss("\<C-]>")
  inoremap <M-\> <ScriptCmd>threadrunner.Ask(true)<CR>
endif
