-- ThreadRunner for Neovim 0.11 and later: the language server, ghost text, keys.
--
--   require('threadrunner').setup {}
--
-- Neovim 0.12 has inline completion built in (vim.lsp.inline_completion). `builtin = true` leaves ghost text to it; ours
-- (ghost.lua) takes words and lines too, and what it takes is not overtaken by the keys that follow.

local M = {}

M.defaults = {
  cmd = { 'threadrunner', 'lsp' },
  filetypes = nil, -- nil: every file that has a type
  root_markers = { '.git', '.threadrunnerignore' },
  settings = {}, -- docs/editors.md: trigger, model, languages, disabledFiles, …
  builtin = false, -- true: Neovim's own ghost text where it has one (0.12)
  menu = false, -- true: suggestions in the completion menu instead of as ghost text
  keys = {
    accept = '<Tab>',
    accept_word = '<M-Right>',
    accept_line = '<M-l>',
    dismiss = '<C-]>',
    next = '<M-]>',
    trigger = '<M-\\>',
  },
}

M.options = M.defaults
M.state = { state = 'stopped', message = '' }
M.deaths = 0 -- of the server, one after the other
M.before = {} -- buffer and key -> the buffer's own mapping that ours has replaced

function M.setup(options)
  M.options = vim.tbl_deep_extend('force', M.defaults, options or {})
  local o = M.options
  if type(o.cmd) == 'table' and vim.fn.executable(o.cmd[1]) == 0 then -- Neovim itself writes this to its log alone
    local message = ("there is no program `%s`; set `cmd` to its path: cmd = { '/path/to/threadrunner', 'lsp' }"):format(o.cmd[1])
    M.state = { state = 'error', message = message }
    vim.notify('ThreadRunner: ' .. message, vim.log.levels.WARN)
    return
  end
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  capabilities.experimental = { threadrunner = { status = true } }
  local settings = o.settings
  if o.menu then
    -- Neovim 0.12 announces inline completion whatever we say, and a server that hears of it offers no menu by itself.
    settings = vim.tbl_extend('keep', settings, { completion = 'on' })
  else
    capabilities.textDocument.inlineCompletion = { dynamicRegistration = false }
  end
  vim.lsp.config('threadrunner', {
    cmd = o.cmd,
    filetypes = o.filetypes,
    root_markers = o.root_markers,
    capabilities = capabilities,
    init_options = next(settings) and settings or vim.empty_dict(),
    flags = { debounce_text_changes = 0 },
    handlers = {
      ['threadrunner/status'] = function(_, params)
        M.state = params
        vim.cmd.redrawstatus { bang = true }
      end,
      ['threadrunner/token'] = function(_, params)
        require('threadrunner.chat').token(params)
      end,
    },
    on_attach = M._attached,
    on_exit = vim.schedule_wrap(M._exited),
  })
  vim.lsp.enable('threadrunner')
  local group = vim.api.nvim_create_augroup('threadrunner', { clear = true })
  -- Neovim tells a server of another name only when the buffer is written, and of other line ends never.
  vim.api.nvim_create_autocmd('BufFilePre', {
    group = group,
    callback = function(event)
      M._close(event.buf)
    end,
  })
  vim.api.nvim_create_autocmd('BufFilePost', {
    group = group,
    callback = function(event)
      M._open(event.buf)
    end,
  })
  vim.api.nvim_create_autocmd('OptionSet', {
    group = group,
    pattern = { 'fileformat', 'endofline', 'fixendofline', 'binary' },
    callback = function()
      local buffer = vim.api.nvim_get_current_buf()
      M._close(buffer)
      M._open(buffer)
    end,
  })
end

-- By notifications alone: where a client is detached and attached again, Neovim listens to the buffer twice.
function M._close(buffer)
  local client = M.client(buffer)
  if client then
    client:notify('textDocument/didClose', { textDocument = { uri = vim.uri_from_bufnr(buffer) } })
  end
end

function M._open(buffer)
  local client = M.client(buffer)
  if not client then
    return
  end
  local options = vim.bo[buffer]
  local line_end = ({ dos = '\r\n', mac = '\r' })[options.fileformat] or '\n'
  local text = table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, true), line_end)
  client:notify('textDocument/didOpen', { textDocument = {
    uri = vim.uri_from_bufnr(buffer),
    languageId = client.get_language_id(buffer, options.filetype),
    version = vim.lsp.util.buf_versions[buffer] or 0,
    text = text .. ((options.endofline or (options.fixendofline and not options.binary)) and line_end or ''),
  } })
end

function M._attached(client, buffer)
  M.begun = M.begun or vim.uv.now()
  if M.options.menu then
    vim.lsp.completion.enable(true, client.id, buffer, { autotrigger = true })
  elseif M.options.builtin and vim.lsp.inline_completion then
    -- By buffer: it is off in each by itself, and a client may not be named beside it.
    vim.lsp.inline_completion.enable(true, { bufnr = buffer })
    M._key('accept', buffer, function()
      return vim.lsp.inline_completion.get { bufnr = buffer }
    end)
    M._key('next', buffer, function()
      vim.schedule(vim.lsp.inline_completion.select)
      return true
    end)
  else
    if vim.lsp.inline_completion then
      -- For a user who has it on for other servers: ours would be drawn twice.
      vim.lsp.inline_completion.enable(false, { client_id = client.id })
    end
    require('threadrunner.ghost').attach(client, buffer)
  end
end

-- A server that was not told to end is started again; one that goes on ending, after 1 second, 2, 4, … 60.
function M._exited(code, signal, client_id)
  local lived = vim.uv.now() - (M.begun or vim.uv.now())
  M.begun = nil
  require('threadrunner.ghost').forget()
  require('threadrunner.chat').forget(client_id)
  if (code == 0 and signal == 0) or vim.v.exiting ~= vim.NIL then
    M.state = { state = 'stopped', message = '' }
    return
  end
  M.deaths = lived >= 60000 and 1 or M.deaths + 1
  local pause = M.deaths == 1 and 0 or math.min(60, 2 ^ (math.min(M.deaths, 10) - 2))
  local message = ('the server ended (%s); it is started again after %d s'):format(
    signal ~= 0 and 'signal ' .. signal or 'code ' .. code, pause)
  M.state = { state = 'starting', message = message }
  vim.notify('ThreadRunner: ' .. message, vim.log.levels.WARN)
  vim.defer_fn(function()
    vim.lsp.enable('threadrunner') -- for all open buffers again
  end, pause * 1000)
end

-- Map `keys[name]` to an action, which is given the key and returns the keys that do it, or nothing where it has nothing
-- to do: then the key does what it does without us. Keys, because a mapping with <expr> may not change the text, and
-- because a scheduled change would come after what is typed meanwhile.
function M._key(name, buffer, action)
  local key = M.options.keys[name]
  if not key then
    return
  end
  local before = vim.api.nvim_buf_call(buffer, function()
    return vim.fn.maparg(key, 'i', false, true)
  end)
  before = before.buffer == 1 and before.desc ~= 'ThreadRunner: ' .. name and before or M.before[buffer .. key]
  M.before[buffer .. key] = before
  vim.keymap.set('i', key, function()
    local done = action(key)
    return done == true and '' or done or M._without_us(key, before)
  end, { buffer = buffer, expr = true, remap = true, replace_keycodes = true, desc = 'ThreadRunner: ' .. name })
end

-- The keys that do what `key` does without our mapping: the buffer's own one from before ours, or the global one of now,
-- set under a name of ours with all its attributes. (Neovim's Tab jumps to a snippet's next place by such a one.)
function M._without_us(key, before)
  local raw = vim.api.nvim_replace_termcodes(key, true, true, true)
  for _, map in ipairs(before and {} or vim.api.nvim_get_keymap('i')) do
    if map.lhsraw == raw or map.lhsrawalt == raw then
      before = map
    end
  end
  if not before then
    return key
  end
  local plug = '<Plug>(threadrunner-before)'
  before = vim.tbl_extend('force', before, {
    lhs = plug, lhsraw = vim.api.nvim_replace_termcodes(plug, true, true, true), mode = 'i',
  })
  before.lhsrawalt = nil
  vim.fn.mapset('i', false, before)
  return plug
end

-- For a status line: %{v:lua.require'threadrunner'.status()}
function M.status()
  local signs = { ready = '✓', loading = '…', error = '!', starting = '…', stopped = '' }
  local sign = signs[M.state.state] or '?'
  return sign == '' and '' or ('TR ' .. sign)
end

function M.client(buffer)
  return vim.lsp.get_clients({ name = 'threadrunner', bufnr = buffer or 0 })[1]
end

return M
