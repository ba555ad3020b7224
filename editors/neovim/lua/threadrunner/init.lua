-- ThreadRunner for Neovim 0.11 and later: the language server, ghost text, keys.
--
--   require('threadrunner').setup {}
--
-- Neovim 0.12 has inline completion built in (vim.lsp.inline_completion); there ghost text and accepting all of it are
-- its own. On 0.11, ghost.lua does the same over the same request.

local M = {}

M.defaults = {
  cmd = { 'threadrunner', 'lsp' },
  filetypes = nil, -- nil: every file that has a type
  root_markers = { '.git', '.threadrunnerignore' },
  settings = {}, -- docs/editors.md: trigger, model, languages, disabledFiles, …
  builtin = vim.lsp.inline_completion ~= nil, -- false: our ghost text on 0.12 too
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

function M.setup(options)
  M.options = vim.tbl_deep_extend('force', M.defaults, options or {})
  local o = M.options
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  capabilities.experimental = { threadrunner = { status = true } }
  if not o.menu then
    capabilities.textDocument.inlineCompletion = { dynamicRegistration = false }
  end
  vim.lsp.config('threadrunner', {
    cmd = o.cmd,
    filetypes = o.filetypes,
    root_markers = o.root_markers,
    capabilities = capabilities,
    init_options = next(o.settings) and o.settings or vim.empty_dict(),
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
    on_exit = function()
      M.state = { state = 'stopped', message = '' }
    end,
  })
  vim.lsp.enable('threadrunner')
end

function M._attached(client, buffer)
  if M.options.menu then
    vim.lsp.completion.enable(true, client.id, buffer, { autotrigger = true })
  elseif M.options.builtin and vim.lsp.inline_completion then
    vim.lsp.inline_completion.enable(true, { bufnr = buffer, client_id = client.id })
    M._key('accept', buffer, vim.lsp.inline_completion.get)
  else
    require('threadrunner.ghost').attach(client, buffer, M.options.keys)
  end
end

-- Map `keys[name]` to an action, which returns the keys that do it, or nothing where it has nothing to do: then the key
-- does what it does without us. Keys, because a mapping with <expr> may not change the text, and because a scheduled
-- change would come after what is typed meanwhile.
function M._key(name, buffer, action)
  local key = M.options.keys[name]
  if not key then
    return
  end
  vim.keymap.set('i', key, function()
    local done = action()
    return done == true and '' or done or key
  end, { buffer = buffer, expr = true, replace_keycodes = true, desc = 'ThreadRunner: ' .. name })
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
