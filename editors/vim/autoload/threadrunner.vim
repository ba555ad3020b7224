vim9script

var job: job
var channel: channel
var ready = false
var versions: dict<number> = {}  # buffer number -> version that the server has
var ticks: dict<number> = {}     # buffer number -> changedtick that the server has
var asked = 0                    # only the newest request's answer is shown
var asked_at = ''
var item: dict<any> = {}
var taken = ''
export var ghost = ''            # what of the suggestion is still to come

def Start(): bool
  if job_status(job) ==# 'run'
    return ready
  endif
  ready = false
  versions = {}
  ticks = {}
  job = job_start(get(g:, 'threadrunner_command', ['threadrunner', 'lsp']), {
    in_mode: 'lsp', out_mode: 'lsp', err_io: 'null', callback: Said, noblock: 1})
  if job_status(job) !=# 'run'
    return false
  endif
  channel = job_getchannel(job)
  ch_sendexpr(channel, {method: 'initialize', params: {
    processId: getpid(), rootUri: Uri(getcwd()), clientInfo: {name: 'Vim'},
    workspaceFolders: [{uri: Uri(getcwd()), name: 'root'}],
    initializationOptions: get(g:, 'threadrunner_settings', {}),
    # Columns in bytes, which is what Vim counts in.
    capabilities: {general: {positionEncodings: ['utf-8']}, textDocument: {inlineCompletion: {}}}}},
    {callback: (_, _) => {
      ch_sendexpr(channel, {method: 'initialized', params: {}})
      ready = true
      asked_at = ''
      Typed()
    }})
  return false
enddef

# Requests and notifications of the server.
def Said(_: channel, message: dict<any>)
  if get(message, 'method', '') ==# 'window/showMessage'
    echomsg message.params.message
  elseif has_key(message, 'id') && has_key(message, 'method')
    ch_sendexpr(channel, {id: message.id, result: null})
  endif
enddef

def Uri(path: string): string
  var encoded = ''
  for character in split(fnamemodify(path, ':p'), '\zs')
    encoded ..= character =~# '[A-Za-z0-9/._~-]' ? character : Percent(char2nr(character))
  endfor
  return 'file://' .. encoded
enddef

# A character's UTF-8 bytes; str2blob() came with 9.1 only.
def Percent(code: number): string
  var bytes = code < 0x80 ? [code]
    : code < 0x800 ? [0xC0 + code / 64, 0x80 + code % 64]
    : code < 0x10000 ? [0xE0 + code / 4096, 0x80 + code / 64 % 64, 0x80 + code % 64]
    : [0xF0 + code / 262144, 0x80 + code / 4096 % 64, 0x80 + code / 64 % 64, 0x80 + code % 64]
  return bytes->mapnew((_, byte) => printf('%%%02X', byte))->join('')
enddef

def Text(): string
  var end = &fileformat ==# 'dos' ? "\r\n" : "\n"
  return join(getline(1, '$'), end) .. (&endofline ? end : '')
enddef

def Sync()
  var buffer = bufnr()
  var uri = Uri(bufname())
  if !has_key(versions, buffer)
    versions[buffer] = 1
    ch_sendexpr(channel, {method: 'textDocument/didOpen', params: {textDocument: {
      uri: uri, languageId: &filetype ==# '' ? 'plaintext' : &filetype, version: 1, text: Text()}}})
  elseif get(ticks, buffer, -1) != b:changedtick
    versions[buffer] += 1
    ch_sendexpr(channel, {method: 'textDocument/didChange', params: {
      textDocument: {uri: uri, version: versions[buffer]}, contentChanges: [{text: Text()}]}})
  endif
  ticks[buffer] = b:changedtick
enddef

export def Typed()
  if mode() !~# '^i' || &buftype !=# '' || bufname() ==# ''
    return
  endif
  var rest = Rest()
  if rest ==# ''
    Hide()
  else
    Show(rest)
  endif
  # CursorMovedI and TextChangedI both come for one key.
  var here = printf('%d/%d/%d/%d', bufnr(), b:changedtick, line('.'), col('.'))
  if here !=# asked_at
    asked_at = here
    Ask(false)
  endif
enddef

export def Ask(manual: bool)
  if !Start()
    return
  endif
  Sync()
  asked += 1
  var number = asked
  ch_sendexpr(channel, {method: 'textDocument/inlineCompletion', params: {
    textDocument: {uri: Uri(bufname())}, position: {line: line('.') - 1, character: col('.') - 1},
    context: {triggerKind: manual ? 1 : 2}}},
    {callback: (_, answer) => {
      if number == asked && mode() =~# '^i'
        Answered(get(answer, 'result', {}))
      endif
    }})
enddef

def Answered(result: any)
  var items = type(result) == v:t_dict ? get(result, 'items', []) : []
  item = empty(items) ? {} : items[0]
  var rest = Rest()
  if rest ==# ''
    Hide()
  else
    Show(rest)
    if exists('#User#ThreadRunnerShown')
      doautocmd <nomodeline> User ThreadRunnerShown
    endif
  endif
enddef

# What of the item is to come at the cursor; empty where what was typed disagrees with it.
def Rest(): string
  if empty(item) || item.range.start.line != line('.') - 1 || item.range.start.character > col('.') - 1
    return ''
  endif
  var typed = strpart(getline('.'), item.range.start.character, col('.') - 1 - item.range.start.character)
  var text = substitute(item.insertText, "\r", '', 'g')
  return stridx(text, typed) == 0 ? strpart(text, len(typed)) : ''
enddef

def Show(rest: string)
  Clear()
  ghost = rest
  var lines = split(rest, "\n", true)
  if lines[0] !=# ''
    prop_add(line('.'), col('.'), {type: 'threadrunner', text: lines[0]})
  endif
  for line in lines[1 :]
    var cells = substitute(line, "\t", repeat(' ', &tabstop), 'g')
    prop_add(line('.'), 0, {type: 'threadrunner', text: cells ==# '' ? ' ' : cells, text_align: 'below'})
  endfor
enddef

def Clear()
  prop_remove({type: 'threadrunner', all: true})
enddef

export def Hide()
  ghost = ''
  Clear()
enddef

def Report(kind: string, size: number)
  if has_key(item, 'command')
    ch_sendexpr(channel, {method: 'workspace/executeCommand', params: {
      command: 'threadrunner.accepted', arguments: [item.command.arguments[0], kind, size]}}, {callback: (_, _) => 0})
  endif
enddef

# For a mapping with <expr>, which may not change the text: the keys that do it, or `key` where nothing is shown.
# Not by a timer: keys that were typed after this one would come before the text.
export def Accept(kind: string, key: string): string
  if ghost ==# ''
    return key
  endif
  taken = ghost
  if kind ==# 'word'
    taken = matchstr(ghost, '^\_s*\%([[:alnum:]_]\+\|[^[:alnum:]_[:space:]]\+\)')
  elseif kind ==# 'line'
    taken = matchstr(ghost, '^\n\?[^\n]*')
  endif
  Report(taken ==# ghost ? 'accepted' : kind, strchars(taken))
  return "\<Cmd>call threadrunner#Take()\<CR>"
enddef

export def Take()
  Hide()
  Insert(taken)
enddef

def Insert(text: string)
  var before = strpart(getline('.'), 0, col('.') - 1)
  var behind = strpart(getline('.'), col('.') - 1)
  var lines = split(text, "\n", true)
  var last = len(lines) == 1 ? before .. lines[0] : lines[-1]
  if len(lines) == 1
    setline('.', last .. behind)
  else
    setline('.', before .. lines[0])
    append('.', lines[1 : -2] + [last .. behind])
  endif
  cursor(line('.') + len(lines) - 1, len(last) + 1)
  Typed()
enddef

export def Dismiss(key: string): string
  if ghost ==# ''
    return key
  endif
  Report('dismissed', 0)
  item = {}
  return "\<Cmd>call threadrunner#Hide()\<CR>"
enddef

export def Close(buffer: number)
  if has_key(versions, buffer) && job_status(job) ==# 'run'
    ch_sendexpr(channel, {method: 'textDocument/didClose', params: {textDocument: {uri: Uri(bufname(buffer))}}})
    remove(versions, buffer)
  endif
enddef

export def Status()
  if Start()
    ch_sendexpr(channel, {method: 'threadrunner/status', params: {}},
      {callback: (_, answer) => popup_notification(split(json_encode(answer.result), ',\zs'), {})})
  endif
enddef

export def Stop()
  if job_status(job) ==# 'run'
    ch_evalexpr(channel, {method: 'shutdown'}, {timeout: 2000})
    ch_sendexpr(channel, {method: 'exit'})
  endif
enddef
