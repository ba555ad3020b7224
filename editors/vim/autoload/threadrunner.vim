vim9script

const LONGEST_PAUSE = 60         # seconds
const LONG_LIFE = 60             # seconds; a server that lived as long has not failed to start

var job: job
var channel: channel
var ready = false
var started_at = 0               # in seconds, as localtime() has it
var deaths = 0                   # one after the other, each within LONG_LIFE
var missing: any = []            # the command of which the person was told that there is no such program
var not_before = 0               # no start before this second
var documents: dict<dict<any>> = {}  # buffer number -> {uri, language, version, state} that the server has
var asked = 0                    # only the newest request's answer is shown
var asked_at = ''
var item: dict<any> = {}
var pressed: dict<string> = {}   # the key that takes a suggestion: what of it, and what the key did without us
var taken = ''
var taking: dict<any> = {}       # options to restore once the text is in
export var ghost = ''            # what of the suggestion is still to come, as it was last shown

def Start(): bool
  if job_status(job) ==# 'run'
    return ready
  endif
  if localtime() < not_before
    return false
  endif
  var command = get(g:, 'threadrunner_command', ['threadrunner', 'lsp'])
  if type(command) == v:t_list && !executable(command[0])
    if command != missing
      echomsg printf("ThreadRunner: there is no program `%s`; say let g:threadrunner_command = ['/path/to/threadrunner', 'lsp']", command[0])
    endif
    missing = command
    return false
  endif
  started_at = localtime()
  job = job_start(command, {
    in_mode: 'lsp', out_mode: 'lsp', err_io: 'null', callback: Said, exit_cb: Ended, noblock: 1})
  channel = job_getchannel(job)
  Send({method: 'initialize', params: {
    processId: getpid(), rootUri: Uri(getcwd()), clientInfo: {name: 'Vim'},
    workspaceFolders: [{uri: Uri(getcwd()), name: 'root'}],
    initializationOptions: get(g:, 'threadrunner_settings', {}),
    # Columns in characters: bytes would differ where a text is not UTF-8 and is sent as what it looks like.
    capabilities: {general: {positionEncodings: ['utf-32']}, textDocument: {inlineCompletion: {}}}}},
    (_, _) => {
      Send({method: 'initialized', params: {}})
      ready = true
      asked_at = ''
      Typed()
    })
  return false
enddef

# A server that ended is started again by the next key; one that goes on ending, after 1 second, 2, 4, … 60.
def Ended(_: job, status: number)
  deaths = localtime() - started_at >= LONG_LIFE ? 1 : deaths + 1
  var pause = deaths == 1 ? 0 : min([LONGEST_PAUSE, float2nr(pow(2, min([deaths, 10]) - 2))])
  not_before = localtime() + pause
  ready = false
  documents = {}
  item = {}
  Hide()
  if v:exiting == v:null
    echomsg printf('ThreadRunner: the server ended (code %d); it is started again after %d s', status, pause)
  endif
enddef

# A server that ends while it is written to is met by `Ended`, not by the person's next key.
def Send(message: dict<any>, Then: func = null_function)
  try
    if Then == null_function
      ch_sendexpr(channel, message)
    else
      ch_sendexpr(channel, message, {callback: Then})
    endif
  catch /^Vim\%((\a\+)\)\=:E\%(630\|631\|906\):/
  endtry
enddef

# Requests and notifications of the server.
def Said(_: channel, message: dict<any>)
  if get(message, 'method', '') ==# 'window/showMessage'
    echomsg message.params.message
  elseif has_key(message, 'id') && has_key(message, 'method')
    Send({id: message.id, result: null})
  endif
enddef

# A name that is an address already (fugitive://, scp://, zipfile:) keeps its scheme.
def Uri(name: string): string
  var given = name =~# '^\a[a-zA-Z0-9+.-]\+:'
  var encoded = ''
  for character in split(given ? name : fnamemodify(name, ':p'), '\zs')
    encoded ..= character =~# (given ? '[A-Za-z0-9/._~:-]' : '[A-Za-z0-9/._~-]') ? character : Percent(char2nr(character))
  endfor
  return (given ? '' : 'file://') .. encoded
enddef

# A character's UTF-8 bytes; str2blob() came with 9.1 only.
def Percent(code: number): string
  var bytes = code < 0x80 ? [code]
    : code < 0x800 ? [0xC0 + code / 64, 0x80 + code % 64]
    : code < 0x10000 ? [0xE0 + code / 4096, 0x80 + code / 64 % 64, 0x80 + code % 64]
    : [0xF0 + code / 262144, 0x80 + code / 4096 % 64, 0x80 + code / 64 % 64, 0x80 + code % 64]
  return bytes->mapnew((_, byte) => printf('%%%02X', byte))->join('')
enddef

# A NUL is an LF in Vim's lines, and would be one more line to the server.
def Text(buffer: number): string
  var end = getbufvar(buffer, '&fileformat') ==# 'dos' ? "\r\n" : "\n"
  var lines = getbufline(buffer, 1, '$')
  if match(lines, "\n") >= 0
    lines->map((_, line) => substitute(line, "\n", nr2char(0xFFFD), 'g'))
  endif
  return join(lines, end) .. (getbufvar(buffer, '&endofline') ? end : '')
enddef

# Tell the server what it does not know: of this buffer, and of others that were changed by a command (`:bufdo`).
def Sync()
  Open(bufnr())
  for number in keys(documents)
    Update(str2nr(number))
  endfor
enddef

# Open the buffer, again where it has another name (`:saveas`, `:file`) or type now.
def Open(buffer: number)
  var uri = Uri(bufname(buffer))
  var type = getbufvar(buffer, '&filetype')
  var language = type ==# '' ? 'plaintext' : type
  if has_key(documents, buffer)
    if documents[buffer].uri ==# uri && documents[buffer].language ==# language
      return
    endif
    Close(buffer)
  endif
  documents[buffer] = {uri: uri, language: language, version: 1, state: State(buffer)}
  Send({method: 'textDocument/didOpen', params: {textDocument: {
    uri: uri, languageId: language, version: 1, text: Text(buffer)}}})
enddef

# Differs where the text does: what ends its lines is an option, which is no change to Vim.
def State(buffer: number): string
  return string([getbufvar(buffer, 'changedtick'), getbufvar(buffer, '&fileformat'), getbufvar(buffer, '&endofline')])
enddef

def Update(buffer: number)
  var document = documents[buffer]
  var state = State(buffer)
  if document.state ==# state || !bufloaded(buffer)
    return
  endif
  document.state = state
  document.version += 1
  Send({method: 'textDocument/didChange', params: {
    textDocument: {uri: document.uri, version: document.version}, contentChanges: [{text: Text(buffer)}]}})
enddef

export def Typed()
  if !empty(taking)
    End() # an interrupt came between a Tab and its text
  endif
  if mode() !~# '^i' || pumvisible() || &buftype !=# '' || bufname() ==# '' || reg_executing() !=# ''
    Hide()
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
  Send({method: 'textDocument/inlineCompletion', params: {
    textDocument: {uri: documents[bufnr()].uri},
    position: {line: line('.') - 1, character: strchars(strpart(getline('.'), 0, col('.') - 1))},
    context: {triggerKind: manual ? 1 : 2}}},
    (_, answer) => {
      if number == asked && mode() =~# '^i' && !pumvisible()
        Answered(get(answer, 'result', {}))
      endif
    })
enddef

def Answered(result: any)
  var items = type(result) == v:t_dict ? get(result, 'items', []) : []
  item = empty(items) ? {} : extend(items[0], {buffer: bufnr()})
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

# What of the item is to come at the cursor; empty where what was typed disagrees with it. Looked at again before it is
# taken: keys that arrive together are followed by no event, so that what is shown may be for a place of some keys ago.
def Rest(): string
  if empty(item) || item.buffer != bufnr() || item.range.start.line != line('.') - 1
    return ''
  endif
  var start = byteidxcomp(getline('.'), item.range.start.character)
  if start < 0 || start > col('.') - 1
    return ''
  endif
  var typed = strpart(getline('.'), start, col('.') - 1 - start)
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
    Send({method: 'workspace/executeCommand', params: {
      command: 'threadrunner.accepted', arguments: [item.command.arguments[0], kind, size]}}, (_, _) => 0)
  endif
enddef

# For a mapping with <expr>, which may not change the text: the keys that do it, or `before`, what the key did without us,
# where nothing is shown. Not by a timer: keys that were typed after this one would come before the text.
#
# The text goes in as if it were typed, so that `.` repeats it, with nothing on that would change it; between two breaks
# of the undo sequence, so that one `u` takes it back and nothing else.
export def Accept(kind: string, before: string): string
  if ghost ==# '' || pumvisible()
    return before
  endif
  pressed = {kind: kind, before: before}
  return "\<C-g>u\<Cmd>call threadrunner#Begin()\<CR>\<C-r>=threadrunner#Taken()\<CR>"
    .. "\<Cmd>call threadrunner#End()\<CR>\<C-g>u"
enddef

# Only now is it known where the cursor is: Vim asks a mapping for its keys before it has inserted the character before.
export def Begin()
  var rest = Rest()
  Hide()
  taken = Part(rest, pressed.kind)
  if taken ==# ''
    feedkeys(pressed.before, 'im')
    return
  endif
  Report(taken ==# rest ? 'accepted' : pressed.kind, strchars(taken))
  taking = {paste: &paste, eventignore: &eventignore}
  set paste eventignore+=InsertCharPre,TextChangedI,CursorMovedI
enddef

# All of it, the next word with what stands before it, or up to the end of the line.
def Part(rest: string, kind: string): string
  var part = kind ==# 'all' ? rest
    : kind ==# 'line' ? matchstr(rest, '^\n\?[^\n]*')
    : matchstr(rest, '^\_s*\%([[:alnum:]_]\+\|[^[:alnum:]_[:space:]]\+\)')
  return part ==# '' ? rest : part
enddef

# Control characters would be commands.
export def Taken(): string
  return empty(taking) ? '' : substitute(taken, '[\x01-\x08\x0b-\x1f\x7f]', '', 'g')
enddef

export def End()
  if !empty(taking)
    &paste = taking.paste
    &eventignore = taking.eventignore
    taking = {}
    Typed()
  endif
enddef

export def Dismiss(before: string): string
  if ghost ==# '' || Rest() ==# ''
    return before
  endif
  Report('dismissed', 0)
  item = {}
  return "\<Cmd>call threadrunner#Hide()\<CR>"
enddef

export def Close(buffer: number)
  if has_key(documents, buffer)
    Send({method: 'textDocument/didClose', params: {textDocument: {uri: documents[buffer].uri}}})
    remove(documents, buffer)
  endif
enddef

export def Status()
  if Start()
    Send({method: 'threadrunner/status', params: {}},
      (_, answer) => popup_notification(split(json_encode(answer.result), ',\zs'), {}))
  endif
enddef

export def Stop()
  if job_status(job) ==# 'run'
    ch_evalexpr(channel, {method: 'shutdown'}, {timeout: 2000})
    Send({method: 'exit'})
  endif
enddef
