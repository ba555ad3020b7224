vim9script
# ThreadRunner for Vim 9: ghost text from `threadrunner lsp`.  Needs +job, +channel and virtual text (9.0.0067).
#
#   packadd threadrunner      (or put this folder in 'runtimepath')
#   g:threadrunner_command    how the server is started, default ['threadrunner', 'lsp']
#   g:threadrunner_settings   what docs/editors.md lists, say {trigger: 'manual'}
#   g:threadrunner_no_maps    leave the keys alone
#
# Tab takes a suggestion, Alt-Right a word of it, Alt-l a line, Ctrl-] none; Alt-\ asks for one. Where none is shown, a
# key does what it did before: what your vimrc maps it to, or what Vim does with it.

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
  autocmd TextChangedI,CursorMovedI,InsertEnter,CompleteDone * threadrunner.Typed()
  autocmd InsertLeave,BufLeave,TextChangedP * threadrunner.Hide()
  autocmd BufUnload * threadrunner.Close(str2nr(expand('<abuf>')))
  autocmd VimLeavePre * threadrunner.Stop()
augroup END

command! ThreadRunnerStatus threadrunner.Status()

# With remapping, so that the mapping that was there before can be called: it is kept under a <Plug> name.
def Map(lhs: string, keys: string, call: string)
  var old = maparg(lhs, 'i', false, true)
  var fallback = string(keys)
  if !empty(old) && !old.buffer
    var plug = '(threadrunner-before-' .. lhs[1 : -2] .. ')'
    old.lhs = '<Plug>' .. plug
    old.lhsraw = "\<Plug>" .. plug
    if has_key(old, 'lhsrawalt')
      remove(old, 'lhsrawalt')
    endif
    mapset('i', false, old)
    fallback = string("\<Plug>" .. plug)
  endif
  execute printf('imap <silent> <expr> %s <SID>%s', lhs, printf(call, fallback))
enddef

if !exists('g:threadrunner_no_maps')
  Map('<Tab>', "\<Tab>", "threadrunner.Accept('all', %s)")
  Map('<M-Right>', "\<M-Right>", "threadrunner.Accept('word', %s)")
  Map('<M-l>', "\<M-l>", "threadrunner.Accept('line', %s)")
  Map('<C-]>', "\<C-]>", 'threadrunner.Dismiss(%s)')
  inoremap <M-\> <ScriptCmd>threadrunner.Ask(true)<CR>
endif
