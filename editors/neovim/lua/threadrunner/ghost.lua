-- Ghost text over textDocument/inlineCompletion, for a Neovim without its own.
--
-- A request for each change; the one under way is cancelled first. What is shown stays while the person types what it
-- says: it is shortened here at once, so that it never flickers, and the server confirms it from its cache. What is
-- taken is looked up where the cursor is when the key is executed: keys that arrive together are followed by no event.

local M = {}

local space = vim.api.nvim_create_namespace('threadrunner.ghost')
local shown = {} -- buffer -> {items, at, row, column, rest}
local pending = {} -- buffer -> {client, id}

local function cursor()
  local position = vim.api.nvim_win_get_cursor(0)
  return position[1] - 1, position[2]
end

function M.hide(buffer)
  shown[buffer] = nil
  if vim.api.nvim_buf_is_valid(buffer) then
    vim.api.nvim_buf_clear_namespace(buffer, space, 0, -1)
  end
end

local function draw(buffer)
  local ghost = shown[buffer]
  vim.api.nvim_buf_clear_namespace(buffer, space, 0, -1)
  if not ghost or ghost.rest == '' then
    return
  end
  local lines = vim.split(ghost.rest, '\n', { plain = true })
  local below = {}
  for number = 2, #lines do
    -- A virtual line shows a tab as one cell; the window's own tab stops are what the text will get.
    local text = lines[number]:gsub('\t', (' '):rep(vim.bo[buffer].tabstop))
    below[#below + 1] = { { text == '' and ' ' or text, 'ThreadRunnerGhost' } }
  end
  vim.api.nvim_buf_set_extmark(buffer, space, ghost.row, ghost.column, {
    virt_text = lines[1] ~= '' and { { lines[1], 'ThreadRunnerGhost' } } or nil,
    virt_text_pos = 'inline',
    virt_lines = #below > 0 and below or nil,
    hl_mode = 'combine',
  })
end

local function cancel(buffer)
  local request = pending[buffer]
  pending[buffer] = nil
  if request then
    request.client:cancel_request(request.id)
  end
end

-- What of an item is still to come, given the text between its range's start and the cursor; nil when it disagrees.
local function rest_of(item, buffer, row, column, encoding)
  local range = item.range
  local text = type(item.insertText) == 'table' and item.insertText.value or item.insertText
  text = text:gsub('\r\n', '\n')
  if not range then
    return text
  end
  if range.start.line ~= row then
    return nil
  end
  local line = vim.api.nvim_buf_get_lines(buffer, row, row + 1, false)[1] or ''
  local start = vim.str_byteindex(line, encoding, range.start.character, false)
  local typed = line:sub(start + 1, column)
  if start > column or text:sub(1, #typed) ~= typed then
    return nil
  end
  return text:sub(#typed + 1)
end

local function show(buffer, items, index, row, column, encoding)
  local rest = rest_of(items[index], buffer, row, column, encoding)
  if not rest or rest == '' then
    return M.hide(buffer)
  end
  shown[buffer] = { items = items, at = index, row = row, column = column, rest = rest, encoding = encoding }
  draw(buffer)
  vim.api.nvim_exec_autocmds('User', { pattern = 'ThreadRunnerShown', modeline = false })
end

function M.request(buffer, client, manual)
  cancel(buffer)
  if vim.fn.mode() ~= 'i' or (vim.fn.pumvisible() == 1 and not manual) or vim.fn.reg_executing() ~= '' then
    return M.hide(buffer)
  end
  local row, column = cursor()
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = manual and 1 or 2 }
  local tick = vim.api.nvim_buf_get_changedtick(buffer)
  local id
  local sent
  sent, id = client:request('textDocument/inlineCompletion', params, function(problem, result)
    if pending[buffer] and pending[buffer].id == id then
      pending[buffer] = nil
    end
    local row_now, column_now = cursor()
    if vim.api.nvim_get_current_buf() ~= buffer or vim.fn.mode() ~= 'i' then
      return
    end
    if row_now ~= row or column_now ~= column or vim.api.nvim_buf_get_changedtick(buffer) ~= tick then
      return -- another request is under way for where the cursor is now
    end
    local items = not problem and result and (result.items or result) or {}
    if #items == 0 then
      return M.hide(buffer)
    end
    show(buffer, items, 1, row, column, client.offset_encoding)
  end, buffer)
  if sent then
    pending[buffer] = { client = client, id = id }
  end
end

-- What is to come at the cursor of what is shown; nil where it does not fit there.
local function fitting(buffer)
  local ghost = shown[buffer]
  if not ghost or vim.api.nvim_get_current_buf() ~= buffer then
    return nil
  end
  local row, column = cursor()
  local rest = row == ghost.row and rest_of(ghost.items[ghost.at], buffer, row, column, ghost.encoding)
  return rest and rest ~= '' and rest or nil
end

-- After a key: keep what still fits, drop what does not.
local function follow(buffer)
  local rest = fitting(buffer)
  if rest then
    shown[buffer].column, shown[buffer].rest = select(2, cursor()), rest
    draw(buffer)
  elseif shown[buffer] then
    M.hide(buffer)
  end
end

local function report(buffer, item, kind, text)
  local client = require('threadrunner').client(buffer)
  local id = item.command and item.command.arguments and item.command.arguments[1]
  if client and id then
    client:request('workspace/executeCommand', {
      command = 'threadrunner.accepted',
      arguments = { id, kind, vim.fn.strchars(text) },
    }, function() end, buffer)
  end
end

-- The part that is accepted: all, the next word with what stands before it, or up to the end of the line.
local function part(rest, kind)
  if kind == 'line' then
    local first = rest:match('^\n?[^\n]*')
    return first ~= '' and first or rest
  elseif kind == 'word' then
    return rest:match('^%s*[%w_\128-\255]+') or rest:match('^%s*[^%w%s_]+') or rest
  end
  return rest
end

-- Between two breaks of the undo sequence, so that one `u` takes the suggestion back and nothing else.
function M.accept(buffer, kind, key)
  if not shown[buffer] or vim.fn.pumvisible() == 1 then
    return nil
  end
  M.pressed = { kind = kind, key = key }
  return '<C-g>u<Cmd>lua require("threadrunner.ghost").take()<CR><C-g>u'
end

-- Executed by the key, in its turn; a mapping is asked for its keys before the character before it is inserted.
function M.take()
  local buffer = vim.api.nvim_get_current_buf()
  local rest = fitting(buffer)
  if not rest then
    M.hide(buffer)
    local key = vim.api.nvim_replace_termcodes(M.pressed.key, true, true, true)
    return vim.api.nvim_feedkeys(key, 'im', false) -- to what it does where nothing is shown
  end
  local ghost = shown[buffer]
  local text = part(rest, M.pressed.kind)
  report(buffer, ghost.items[ghost.at], text == rest and 'accepted' or M.pressed.kind, text)
  vim.api.nvim_buf_clear_namespace(buffer, space, 0, -1)
  vim.api.nvim_paste(text, false, -1) -- as pasted text it is in what `.` repeats, and no option indents it
  follow(buffer)
  vim.api.nvim_exec_autocmds('User', { pattern = 'ThreadRunnerAccepted', modeline = false })
end

function M.dismiss(buffer)
  local ghost = fitting(buffer) and shown[buffer]
  if not ghost then
    return false
  end
  report(buffer, ghost.items[ghost.at], 'dismissed', '')
  return '<Cmd>lua require("threadrunner.ghost").drop()<CR>'
end

function M.drop()
  local buffer = vim.api.nvim_get_current_buf()
  cancel(buffer)
  M.hide(buffer)
end

-- The server is gone, and with it what it suggested.
function M.forget()
  pending = {}
  for buffer in pairs(shown) do
    M.hide(buffer)
  end
end

function M.next(buffer, step)
  local ghost = shown[buffer]
  if not ghost or #ghost.items < 2 then
    return nil
  end
  local index = (ghost.at - 1 + (step or 1)) % #ghost.items + 1
  return ('<Cmd>lua require("threadrunner.ghost").choose(%d)<CR>'):format(index)
end

function M.choose(index)
  local buffer = vim.api.nvim_get_current_buf()
  local ghost = shown[buffer]
  if ghost then
    show(buffer, ghost.items, index, ghost.row, ghost.column, ghost.encoding)
  end
end

-- What is shown now, for tests and for other plugins.
function M.text(buffer)
  local ghost = shown[buffer == 0 and vim.api.nvim_get_current_buf() or buffer or vim.api.nvim_get_current_buf()]
  return ghost and ghost.rest or nil
end

function M.attach(client, buffer)
  vim.api.nvim_set_hl(0, 'ThreadRunnerGhost', { link = 'NonText', default = true })
  local group = vim.api.nvim_create_augroup('threadrunner.ghost.' .. buffer, { clear = true })
  local on = function(events, action)
    vim.api.nvim_create_autocmd(events, { group = group, buffer = buffer, callback = action })
  end
  on({ 'TextChangedI', 'CursorMovedI', 'InsertEnter' }, function()
    follow(buffer)
    M.request(buffer, client, false)
  end)
  on('CompleteDone', function()
    M.request(buffer, client, false)
  end)
  on({ 'InsertLeave', 'BufLeave', 'TextChangedP' }, function()
    cancel(buffer)
    M.hide(buffer)
  end)
  on('BufUnload', function()
    shown[buffer], pending[buffer] = nil, nil
    vim.api.nvim_del_augroup_by_id(group)
  end)
  local map = require('threadrunner')._key
  for _, kind in ipairs { 'accept', 'accept_word', 'accept_line' } do
    map(kind, buffer, function(key)
      return M.accept(buffer, kind:match('_(.*)') or 'all', key)
    end)
  end
  map('dismiss', buffer, function()
    return M.dismiss(buffer)
  end)
  map('next', buffer, function()
    return M.next(buffer, 1)
  end)
  map('trigger', buffer, function()
    vim.schedule(function()
      M.request(buffer, client, true)
    end)
    return true
  end)
  if vim.api.nvim_get_current_buf() == buffer and vim.api.nvim_get_mode().mode:sub(1, 1) == 'i' then
    M.request(buffer, client, false) -- what was typed until the server was there
  end
end

return M
